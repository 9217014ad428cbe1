"""Which entries are folds, and their means."""

from __future__ import annotations

import pytest

from frozenseg.evaluation.folds import fold_means, fold_of


def entry(fold=0, kind="val", benchmark="pascal_5i", **scores):
    return {
        "benchmark": benchmark,
        "split": f"fold{fold}_{kind}",
        "dataset": f"{benchmark}_fold{fold}_{kind}",
        "metrics": {"episodes": scores},
    }


def test_the_split_tells_the_fold():
    assert fold_of(entry(3, "seen_val")) == ("pascal_5i", "seen_val", 3)
    assert fold_of({"benchmark": "ade20k_150", "split": "val"}) is None
    assert fold_of({"benchmark": "mine"}) is None


def test_means_of_each_benchmark_and_kind():
    entries = [
        entry(1, mIoU=30.0, FB_IoU=60.0),
        entry(0, mIoU=20.0, FB_IoU=70.0),
        entry(0, "seen_val", mIoU=80.0, FB_IoU=90.0),
        entry(0, benchmark="coco_20i", mIoU=5.0, FB_IoU=50.0),
        {"benchmark": "fss_mosaic_4", "split": "test", "metrics": {}},
    ]
    first, seen, coco = fold_means(entries)
    assert first.title == "pascal_5i val, mean of 2 folds"
    assert first.folds == (0, 1)
    assert first.scores == {"mIoU of items": 25.0, "FB-IoU": 65.0}
    assert (seen.title, seen.scores["mIoU of items"]) == ("pascal_5i seen_val, mean of 1 fold", 80)
    assert coco.benchmark == "coco_20i"
    assert fold_means([]) == []


def test_a_score_that_a_fold_lacks_has_no_mean():
    [mean] = fold_means([entry(0, mIoU=1.0, FB_IoU=2.0), entry(1, mIoU=None, FB_IoU=4.0)])
    assert mean.scores == {"FB-IoU": 3.0}


def test_a_fold_that_occurs_twice_is_an_error():
    with pytest.raises(ValueError, match="pascal_5i_fold0_val occurs twice"):
        fold_means([entry(mIoU=1.0), entry(mIoU=2.0)])
