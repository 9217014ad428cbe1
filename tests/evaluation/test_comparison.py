"""Runs beside published scores: figures, differences and the reasons that are named."""

from __future__ import annotations

import copy

import pytest

from frozenseg.data.catalog.lookup import find_split, row_vocabulary
from frozenseg.evaluation.comparison import (
    comparison_text,
    notes_of,
    protocol_differences,
    protocol_lines,
    side_by_side,
)
from frozenseg.evaluation.published import published_model

ADE = "openvocab_ade20k_panoptic_val"
R50 = published_model("fcclip/r50")  # ADE20K-150: PQ 17.9, AP 9.5, mIoU 23.3


def group(**scores):
    return {"all": {**scores, "classes": 150}}


@pytest.fixture
def entry():
    """An evaluation as published, with official AP."""
    return {
        "benchmark": "ade20k_150",
        "dataset": ADE,
        "images": 2000,
        "metrics": {
            "panoptic": group(PQ=18.4),
            "instance": group(AP=8.0),
            "instance_official": group(AP=9.5),
            "semantic": {
                "ground_truth": group(mIoU=23.3), "ground_truth_or_predicted": group(mIoU=23.3)
            },
        },
        "protocol": {
            "vocabulary": row_vocabulary(find_split(ADE)).digest,
            "words": {"set": "own"},
            "trained_on": ["openvocab_coco_2017_train_panoptic_with_sem_seg"],
            "templates": "vild_14",
            "ensemble": {"enabled": True, "alpha": 0.4, "beta": 0.8, "on_valid_mask": True},
            "thresholds": {"object_mask": 0.0, "overlap": 0.8, "detections_per_image": 100},
            "ignore_label": 255,
            "test_size": [800, 1333],
            "instance_ground_truth": {"instance": "thing segments"},
        },
    }  # fmt: skip


def test_every_score_stands_beside_the_published_one(entry):
    rows = side_by_side({"mine": {ADE: entry}}, R50)
    found = {row["score"]: (row["published"], row["runs"]["mine"]["value"]) for row in rows}
    assert found == {"PQ": (17.9, 18.4), "AP": (9.5, 9.5), "mIoU": (23.3, 23.3)}
    assert "bytedance/fc-clip" in rows[0]["source"]
    text = comparison_text(rows, ["mine"])
    assert "| 18.40  | +0.50" in text
    assert "+0.00" in text


def test_a_score_that_was_not_measured_and_a_run_without_published_ones(entry):
    del entry["metrics"]["panoptic"]
    other = copy.deepcopy(entry)
    other["metrics"]["instance_official"]["all"]["AP"] = 8.5
    runs = {"a": {ADE: entry}, "b": {ADE: other}}
    assert side_by_side(runs, R50)[0]["runs"] == {}
    rows = side_by_side(runs, None)
    assert [row["score"] for row in rows] == ["AP", "mIoU"]
    assert "-1.00" in comparison_text(rows, ["a", "b"])


def test_the_same_protocol_leaves_only_the_words(entry):
    [note] = notes_of(entry, R50)
    assert note.startswith("words: own here, fcclip published")
    entry["protocol"] |= {"vocabulary": "f" * 64, "words": {"set": "fcclip", "sha256": "0"}}
    assert notes_of(entry, R50) == []


def test_what_frozenseg_was_published_with_is_no_difference(entry):
    """SAM's features belong to it; whether SAM's masks do is said to be unknown."""
    published = published_model("frozenseg/released_convnext_large")
    entry["protocol"] |= {"words": {"set": "fcclip"}, "vocabulary": "f" * 64}
    entry["protocol"]["sam_injection"] = {"sam": "vit_b", "branch": "released"}
    [note] = notes_of(entry, published)
    assert note == "SAM's masks: none here; if they take part in the published scores is not known"
    entry["protocol"]["sam_injection"]["branch"] = "single_level"
    entry["protocol"]["mask_ensemble"] = {"alpha": 0.2}
    features, masks = notes_of(entry, published)
    assert features == (
        "SAM's features: sam vit_b, branch single_level here, sam vit_b, branch released published"
    )
    assert masks.startswith("SAM's masks: alpha 0.2 here; if they take part")
    del entry["protocol"]["sam_injection"]
    assert "SAM's features: none here, sam vit_b, branch released published" in notes_of(
        entry, published
    )


def test_the_protocol_line_by_line(entry):
    lines = {line.name: line for line in protocol_lines(entry, R50)}
    assert next(iter(lines)) == "words"
    different = {name for name, line in lines.items() if line.verdict == "different"}
    assert different == {"words"}
    assert lines["test size"] == ("test size", [800, 1333], [800, 1333])
    assert lines["mIoU is a mean over"].verdict == "not known"
    assert lines["images"].verdict == "equal"
    entry["images"] = 20
    assert protocol_lines(entry, R50)[-2] == ("images", "2000", 20)


CHANGES = {
    "words": (("protocol", "vocabulary"), "f" * 64, "not this project's table 'ade20k_150'"),
    "templates": (("protocol", "templates"), "simple", "prompt templates: simple here, vild_14"),
    "alpha": (("protocol", "ensemble", "alpha"), 0.2, "class ensemble, alpha: 0.2 here, 0.4"),
    "threshold": (("protocol", "thresholds", "object_mask"), 0.8, "object-mask threshold: 0.8"),
    "size": (("protocol", "test_size"), [640, 2560], "test size: [640, 2560] here, [800, 1333]"),
    "training": (("protocol", "trained_on"), ["mine"], "trained on: mine here, coco_panoptic"),
    "sam": (("protocol", "sam_injection"), {"layer": 1}, "SAM's features take part here"),
    "adapter": (("protocol", "mask_adapter"), {"threshold": 0.5}, "Mask-Adapter's maps take part"),
    "oracle": (("protocol", "oracle_masks"), True, "ground-truth masks take part here"),
    "images": (("images",), 20, "20 images were scored, the official split has 2000"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGES)
def test_each_difference_is_named(name, entry):
    way, value, expected = CHANGES[name]
    node = entry
    for key in way[:-1]:
        node = node[key]
    node[way[-1]] = value
    assert any(expected in note for note in notes_of(entry, R50))
    assert len(notes_of(entry, R50)) == 2


def test_conventions_and_ground_truths_that_could_explain_a_difference(entry):
    entry["metrics"]["semantic"]["ground_truth_or_predicted"] = group(mIoU=21.0)
    del entry["metrics"]["instance_official"]
    _, miou, ap = notes_of(entry, R50)
    assert "mIoU is 23.30" in miou
    assert "21.00 if classes that are only predicted count as 0 (detectron2 v0.6)" in miou
    assert ap.startswith("AP is COCO's on the thing segments; published AP")


def test_other_printed_figures_and_data_sets_of_ones_own(entry):
    vistas = find_split("openvocab_mapillary_vistas_panoptic_val")
    entry |= {"dataset": vistas.name, "benchmark": vistas.benchmark}
    notes = notes_of(entry, published_model("fcclip/convnext_large"))
    assert any("PQ: README" in note and "prints 18.3" in note for note in notes)
    assert any("test size: [800, 1333] here, [1024, 2560] published" in note for note in notes)
    entry["dataset"] = "mine"
    assert notes_of(entry, R50) == [
        "the dataset is not a row of the catalog; what it holds is not known here"
    ]


def test_two_runs_differ_in_what_their_protocols_say(entry):
    other = copy.deepcopy(entry)
    assert protocol_differences(entry, other) == []
    other["protocol"]["ensemble"]["alpha"] = 0.7
    other["images"] = 5
    assert protocol_differences(entry, other) == ["ensemble.alpha: 0.4, 0.7", "images: 2000, 5"]
    other["protocol"] = {f"key{i}": i for i in range(30)}
    assert protocol_differences(entry, other)[-1].endswith(" more")


FUSIONER = published_model("fusioner/Fusioner ViT-L/14")  # PASCAL-5i 59.0, COCO-20i 33.5


def fold_entry(fold, miou, kind="val"):
    """An evaluation of a fold as published."""
    row = find_split(f"pascal_5i_fold{fold}_{kind}")
    return {
        "benchmark": row.benchmark,
        "dataset": row.name,
        "split": row.split,
        "images": (346, 451, 725, 346)[fold],
        "metrics": {"episodes": {"mIoU": miou, "FB_IoU": miou + 10, "classes": 5}},
        "protocol": {
            "model": {
                "architecture": "Fusioner", "method": "early", "visual": "clip-vit-l-14",
                "language": "clip-vit-l-14", "threshold": 0.5,
                "window": {"crop": 224, "stride": 149},
            },
            "vocabulary": row_vocabulary(row).digest,
            "templates": "fusioner_32",
            "trained_on": [f"pascal_5i_fold{fold}_train"],
        },
    }  # fmt: skip


def by_name(*entries):
    return {entry["dataset"]: entry for entry in entries}


def test_the_mean_of_all_folds_stands_beside_the_published_one():
    mine = by_name(*(fold_entry(fold, 40.0 + 10 * fold) for fold in range(4)))
    rows = {(row["dataset"], row["score"]): row for row in side_by_side({"a": mine}, FUSIONER)}
    first = rows["pascal_5i_fold0_val", "mIoU of items"]
    assert (first["published"], first["runs"]["a"]["value"]) == (None, 40)
    mean = rows["pascal_5i val, mean of 4 folds", "mIoU of items"]
    assert (mean["published"], mean["runs"]["a"]["value"]) == (59.0, 55)
    assert "arXiv:2210.15138" in mean["source"]
    other = rows["pascal_5i val, mean of 4 folds", "FB-IoU"]
    assert (other["published"], other["runs"]["a"]["value"]) == (None, 65)
    assert "-4.00" in comparison_text(list(rows.values()), ["a"])


def test_a_mean_of_other_folds_or_classes_is_not_the_published_one():
    some = by_name(fold_entry(0, 40.0), fold_entry(1, 50.0))
    seen = by_name(*(fold_entry(fold, 80.0, "seen_val") for fold in range(4)))
    alone = by_name(fold_entry(2, 30.0))
    rows = side_by_side({"a": some, "b": seen, "c": alone}, FUSIONER)
    assert {row["published"] for row in rows} == {None}
    means = [row["dataset"] for row in rows if "mean" in row["dataset"]]
    assert (
        means
        == ["pascal_5i val, mean of 2 folds"] * 2 + ["pascal_5i seen_val, mean of 4 folds"] * 2
    )


def test_a_fold_as_published_leaves_the_note_that_it_is_one_of_four():
    [note] = notes_of(fold_entry(1, 50.0), FUSIONER)
    assert "59.0 is the mean of 4 folds" in note
    assert notes_of(fold_entry(1, 50.0, "seen_val"), FUSIONER) == []


FOLD_CHANGES = {
    "words": (("protocol", "vocabulary"), "f" * 64, "not the benchmark's class names"),
    "templates": (("protocol", "templates"), "simple", "templates: simple here, fusioner_32"),
    "threshold": (("protocol", "model", "threshold"), 0.4, "probability: 0.4 here, 0.5"),
    "window": (("protocol", "model", "window"), {"crop": 9}, "window: {'crop': 9} here"),
    "leak": (
        ("protocol", "trained_on"),
        ["pascal_5i_fold0_train"],
        "trained on pascal_5i_fold0_train here; pascal_5i_fold1_train leaves out the classes",
    ),
    "items": (("images",), 450, "450 items were scored, the published list has 451"),
}


@pytest.mark.parametrize("name", FOLD_CHANGES)
def test_each_difference_of_a_fold_is_named(name):
    way, value, expected = FOLD_CHANGES[name]
    entry = fold_entry(1, 50.0)
    node = entry
    for key in way[:-1]:
        node = node[key]
    node[way[-1]] = value
    notes = notes_of(entry, FUSIONER)
    assert len(notes) == 2
    assert any(expected in note for note in notes)
