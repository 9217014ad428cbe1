import pytest

from frozenseg.evaluation.results import write_results
from frozenseg.evaluation.summary import (
    comparison_table,
    read_scores,
    require_same_scores,
    score_table,
)

NAN = float("nan")
METRICS = {
    "panoptic": {
        "all": {"PQ": 50.0, "SQ": 80.0, "RQ": 60.0, "classes": 5},
        "unseen_things": {"PQ": 31.26, "SQ": 70.0, "RQ": 40.0, "classes": 2},
        "per_class": {"cat": {"PQ": 1.0}},
    },
    "semantic": {
        "ground_truth": {"all": {"mIoU": 44.0, "classes": 5}},
        "ground_truth_or_predicted": {"all": {"mIoU": 40.0, "classes": 5}},
        "fwIoU": 70.0,
    },
    "regions": {"all": {"recall50": 90.0, "accuracy": NAN, "classes": 5}},
}


def entry(metrics):
    about = {"benchmark": "x", "dataset": "x_val", "images": 3, "protocol": {}}
    return {**about, "metrics": metrics}


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, [entry(METRICS), entry({"instance": {"all": {"AP": 7.0}}})])
    return read_scores(path)


def test_scores_that_are_there(scores):
    assert scores["PQ"] == {"all": 50.0, "unseen_things": 31.26}
    assert scores["mIoU"] == {"all": 44.0}
    assert scores["accuracy"] == {"all": None}
    assert "AP" not in scores


def test_recall_with_sam_has_its_own_columns(tmp_path):
    path = tmp_path / "results.json"
    recall = {
        name: {"all": {"recall50": value, "accuracy": value + 1}}
        for name, value in (("regions", 90.0), ("regions_sam", 70.0), ("regions_with_sam", 95.0))
    }
    write_results(path, [entry(recall)])
    scores = read_scores(path)
    assert {name: row["all"] for name, row in scores.items()} == {
        "recall50": 90.0,
        "recall50 of SAM": 70.0,
        "recall50 with SAM": 95.0,
        "accuracy": 91.0,
        "accuracy with SAM": 96.0,
    }
    assert "recall50 with SAM" in score_table(scores)


def test_table_has_a_row_per_group_and_a_dash_where_nothing_is_known(scores):
    header, _, first, second = score_table(scores).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (header, first)]
    assert dict(zip(*cells, strict=True)) == {
        "classes": "all", "PQ": "50.0", "SQ": "80.0", "RQ": "60.0",
        "mIoU": "44.0", "recall50": "90.0", "accuracy": "-",
    }  # fmt: skip
    assert [cell.strip() for cell in second.strip("|").split("|")][:2] == ["unseen things", "31.3"]


def test_comparison_gives_the_gain_in_points(scores):
    before = {"PQ": {"all": 60.26}, "accuracy": {"all": 3.0}}
    rows = (("panoptic quality", "PQ", "all"), ("accuracy", "accuracy", "all"), ("x", "AP", "all"))
    lines = comparison_table(before, scores, rows, ("off", "on")).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "off", "on", "gain"]
    assert cells[2:] == [
        ["panoptic quality", "60.3", "50.0", "-10.3"],
        ["accuracy", "3.0", "-", "-"],
        ["x", "-", "-", "-"],
    ]


@pytest.mark.parametrize("other", [50.1, None])
def test_scores_that_changed_are_an_error(other, scores):
    require_same_scores(scores, {**scores, "PQ": {**scores["PQ"], "all": 50.0 + 1e-9}})
    with pytest.raises(ValueError, match=rf"PQ of all classes was 50\.0 at first but {other}"):
        require_same_scores(scores, {**scores, "PQ": {**scores["PQ"], "all": other}})
    with pytest.raises(ValueError, match="mIoU"):
        require_same_scores(scores, {**scores, "mIoU": {}})


def test_scores_of_items(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, [entry({"episodes": {"mIoU": 51.2, "FB_IoU": NAN, "items": 3}})])
    scores = read_scores(path)
    assert scores == {"mIoU of items": {"all": 51.2}, "FB-IoU": {"all": None}}
    assert "51.2" in score_table(scores)
