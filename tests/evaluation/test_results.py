"""The results file and its table."""

from __future__ import annotations

import json

import pytest

from frozenseg.evaluation.results import (
    column,
    flat_scores,
    format_table,
    overview_table,
    read_results,
    read_skipped,
    write_results,
)

ENTRY = {
    "benchmark": "x",
    "dataset": "x_val",
    "protocol": {},
    "images": 2,
    "seconds": 3.0,
    "metrics": {
        "panoptic": {
            "all": {"PQ": 41.5, "SQ": 80.0, "RQ": 50.0, "classes": 3},
            "unseen": {"PQ": float("nan"), "SQ": float("nan"), "RQ": float("nan"), "classes": 0},
            "per_class": {"cat": {"PQ": 1.0}},
        },
        "semantic": {
            "ground_truth": {"all": {"mIoU": 30.25, "classes": 3}},
            "ground_truth_or_predicted": {"all": {"mIoU": 20.5, "classes": 4}},
            "fwIoU": 60.0,
            "pixel_accuracy": 70.0,
        },
    },
}


def test_written_and_read_back_without_leftovers(tmp_path):
    path = tmp_path / "out" / "results.json"
    write_results(path, [ENTRY])
    (entry,) = read_results(path)
    assert entry["metrics"]["panoptic"]["all"] == ENTRY["metrics"]["panoptic"]["all"]
    assert entry["metrics"]["panoptic"]["unseen"]["PQ"] is None
    assert json.loads(path.read_text())["format"] == 1
    assert [p.name for p in path.parent.iterdir()] == ["results.json"]
    assert flat_scores(entry["metrics"]) == flat_scores(ENTRY["metrics"])
    assert read_skipped(path) == {}
    write_results(path, [ENTRY], {"y_val": "not there"})
    assert read_skipped(path) == {"y_val": "not there"}


def test_broken_or_missing_files_are_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"r\.json"):
        read_results(tmp_path / "r.json")
    for text, said in (
        ("{", "not valid JSON"),
        ("[]", r"\$: Expected object, got array; not a results file"),
        ('{"results": 3}', r"\$\.results: Expected array, got int; not a results file"),
    ):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(ValueError, match=rf"r\.json: {said}"):
            read_results(tmp_path / "r.json")


def test_flat_scores_leave_out_classes_and_nan():
    flat = flat_scores(ENTRY["metrics"])
    assert flat["panoptic/all/PQ"] == 41.5
    assert flat["semantic/ground_truth/all/mIoU"] == 30.25
    assert not any("per_class" in key or "unseen" in key or "classes" in key for key in flat)


def test_the_table_shows_every_score_once():
    table = format_table(ENTRY)
    assert "x_val: 2 images" in table
    for number in ("41.50", "30.25", "20.50", "60.00"):
        assert table.count(number) == 1
    assert "unseen" not in table


def test_columns_leave_out_groups_without_classes_and_scores():
    assert column(ENTRY["metrics"], "PQ") == {"all": 41.5}
    assert column(ENTRY["metrics"], "AP") == {}
    cityscapes = {"cityscapes_semantic": {"all": {"IoU": 7.0, "iIoU": 3.0}}}
    assert column(cityscapes, "IoU, Cityscapes") == {"all": 7.0}


def test_the_overview_has_a_row_per_data_set_and_apr_of_lvis():
    groups = {"all": {"AP": 12.5, "classes": 9}, "rare": {"AP": 6.25, "classes": 2}}
    lvis = {"dataset": "l_val", "images": 5, "metrics": {"instance": groups}}
    first, _, second, third = overview_table([ENTRY, lvis]).splitlines()
    assert [cell.strip() for cell in first.split("|")[1:-1]] == [
        *("dataset", "images", "PQ", "SQ", "RQ", "AP", "mIoU", "mIoU (v0.6)", "APr")
    ]
    assert "41.50" in second
    assert [cell.strip() for cell in third.split("|")[1:-1]] == [
        *("l_val", "5", "", "", "", "12.50", "", "", "6.25")
    ]


EPISODES = {
    "benchmark": "pascal_5i",
    "dataset": "pascal_5i_fold0_val",
    "protocol": {},
    "images": 346,
    "seconds": 3.0,
    "metrics": {
        "episodes": {
            "mIoU": 51.25,
            "FB_IoU": 62.5,
            "foreground_IoU": 45.5,
            "background_IoU": 79.5,
            "items": 346,
            "classes": 5,
            "per_class": {"bus": {"IoU": 12.75, "items": 9}},
        }
    },
}


def test_scores_of_items_are_one_row():
    assert column(EPISODES["metrics"], "mIoU of items") == {"all": 51.25}
    assert column(EPISODES["metrics"], "mIoU") == {}
    assert flat_scores(EPISODES["metrics"]) == {
        "episodes/mIoU": 51.25,
        "episodes/FB_IoU": 62.5,
        "episodes/foreground_IoU": 45.5,
        "episodes/background_IoU": 79.5,
    }
    table = format_table(EPISODES)
    assert table.startswith("pascal_5i_fold0_val: 346 items, 3 s")
    for number in ("51.25", "62.50", "45.50", "79.50"):
        assert table.count(number) == 1
    assert "12.75" not in table
    first, _, second, third = overview_table([ENTRY, EPISODES]).splitlines()
    assert [cell.strip() for cell in first.split("|")[-5:-1]] == [
        *("mIoU of items", "FB-IoU", "IoU, foreground", "IoU, background")
    ]
    assert [cell.strip() for cell in third.split("|")[-5:-1]] == [
        "51.25",
        "62.50",
        "45.50",
        "79.50",
    ]
    assert "41.50" in second


def test_episodes_without_a_score_show_none(tmp_path):
    scores = {**EPISODES["metrics"]["episodes"], "mIoU": float("nan")}
    entry = {**EPISODES, "metrics": {"episodes": scores}}
    write_results(tmp_path / "results.json", [entry])
    [read] = read_results(tmp_path / "results.json")
    assert column(read["metrics"], "mIoU of items") == {}
    assert column(read["metrics"], "FB-IoU") == {"all": 62.5}


def test_nothing_scored_is_a_dash_and_warnings_follow():
    nothing = {
        "panoptic": {
            "all": {"PQ": None, "SQ": None, "RQ": None, "classes": 0},
            "stuff": {"PQ": None, "SQ": None, "RQ": None, "classes": 0},
        },
        "regions": {"all": {"recall50": 20.0, "accuracy": float("nan"), "classes": 1}},
        "semantic": {
            "ground_truth": {"all": {"mIoU": None, "classes": 0}},
            "fwIoU": None,
            "pixel_accuracy": float("nan"),
        },
    }
    entry = {**ENTRY, "metrics": nothing, "ignored_pixels": 100.0, "warnings": ["all is black"]}
    _, header, _, row, *rest = format_table(entry).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (header, row)]
    assert cells == [
        ["classes", "PQ", "SQ", "RQ", "recall50", "accuracy", "mIoU"],
        ["all", "-", "-", "-", "20.00", "-", "-"],
    ]
    assert rest == [
        "fwIoU -, pixel accuracy -",
        "pixels without a label, which are not scored: 100.0 %",
        "warning: x_val: all is black",
    ]
    last = overview_table([ENTRY, entry]).splitlines()[-1]
    assert [cell.strip() for cell in last.split("|")[1:-1]] == [
        *("x_val", "2", "-", "-", "-", "20.00", "-", "-", "")
    ]


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"PQ": 995.81}, r"panoptic: all: PQ: .*<= 100"),
        ({"PQ": -1}, r"panoptic: all: PQ: .*>= 0"),
        ({"PQ": "18"}, r"panoptic: all: PQ: .*got str"),
        (3, r"panoptic: \$\[...\]: Expected object, got int"),
    ],
)
def test_scores_that_cannot_be_are_not_read(tmp_path, group, message):
    path = tmp_path / "results.json"
    write_results(path, [{**ENTRY, "metrics": {"panoptic": {"all": group}}}])
    with pytest.raises(ValueError, match=rf"results\.json: metrics of x_val: {message}"):
        read_results(path)


def test_a_text_that_is_no_unicode_is_named_with_its_file(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"results": [], "\ud800": 1}))
    with pytest.raises(ValueError, match=r"results\.json: .*surrogates"):
        read_results(path)
