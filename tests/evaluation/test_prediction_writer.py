"""Kept predictions: the original panopticapi and pycocotools find our scores in the files."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from panopticapi.evaluation import pq_compute
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.reading import ids_of_rgb, read_panoptic_png
from frozenseg.engine.evaluate import evaluate
from frozenseg.evaluation.prediction_folder import PredictionFolder
from frozenseg.evaluation.prediction_writer import (
    INDEX,
    PredictionWriter,
    label_values,
    no_class_value,
)
from frozenseg.evaluation.results import read_results
from frozenseg.vocab import Vocabulary
from tests.evaluation.kept_predictions import (
    EMPTY,
    IDS,
    NAME,
    WrongOften,
    config,
    write_dataset,
)
from tests.stand_in import StandIn

DIGITS = 10  # behind the point of a percentage: sums in another order differ in the last bits
assert StandIn


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(root of the data, folder of predictions, metrics of results.json)."""
    root = tmp_path_factory.mktemp("kept")
    write_dataset(root)
    evaluate(config(root / "out"), WrongOften())
    [entry] = read_results(root / "out/results.json")
    return root, root / "out/predictions" / NAME, entry["metrics"]


def same_digits(ours, theirs):
    """Both percentages, NaN and -1 being "nothing to score", as text."""
    ours = float("nan") if ours is None else ours
    return f"{ours:.{DIGITS}f}", f"{theirs if theirs >= 0 else float('nan'):.{DIGITS}f}"


def test_panopticapi_finds_our_pq(run, capsys):
    root, folder, metrics = run
    theirs = pq_compute(
        str(root / "shapes/panoptic_val.json"),
        str(folder / "panoptic.json"),
        str(root / "shapes/panoptic_val"),
        str(folder / "panoptic"),
    )
    capsys.readouterr()
    for group, name in (("all", "All"), ("things", "Things"), ("stuff", "Stuff")):
        for score in ("PQ", "SQ", "RQ"):
            ours, other = same_digits(
                metrics["panoptic"][group][score], 100 * theirs[name][score.lower()]
            )
            assert ours == other, (group, score)
        assert metrics["panoptic"][group]["classes"] == theirs[name]["n"]
    assert 10 < metrics["panoptic"]["all"]["PQ"] < 90


def test_pycocotools_finds_our_ap(run):
    root, folder, metrics = run
    truth = instances_of_panoptic(root)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(str(folder / "instance.json")), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large")
    for name, theirs in zip(names, evaluation.stats, strict=False):
        ours, other = same_digits(metrics["instance"]["all"][name], 100 * theirs)
        assert ours == other, name
    assert 5 < metrics["instance"]["all"]["AP"] < 95
    crowds = [one for one in truth["annotations"] if one["iscrowd"]]
    assert len(crowds) >= 2
    found = json.loads((folder / "instance.json").read_text())
    assert EMPTY not in {one["image_id"] for one in found}
    assert {one["category_id"] for one in found} <= set(IDS[:8])
    assert not any("bbox" in one for one in found)  # pycocotools would take its area


def instances_of_panoptic(root):
    """The thing segments of the panoptic annotation as COCO's instances."""
    content = json.loads((root / "shapes/panoptic_val.json").read_text())
    things = {each["id"] for each in content["categories"] if each["isthing"]}
    annotations = []
    for annotation in content["annotations"]:
        ids = ids_of_rgb(read_panoptic_png(root / "shapes/panoptic_val" / annotation["file_name"]))
        for segment in annotation["segments_info"]:
            if segment["category_id"] in things:
                mask = np.asfortranarray(ids == segment["id"], dtype=np.uint8)
                rle = coco_mask.encode(mask)
                one = {"segmentation": rle, "area": int(mask.sum()), "bbox": segment["bbox"]}
                keys = {key: segment[key] for key in ("category_id", "iscrowd")}
                number = {"id": len(annotations) + 1, "image_id": annotation["image_id"]}
                annotations.append({**number, **keys, **one})
    categories = [each for each in content["categories"] if each["isthing"]]
    images = content["images"]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def test_label_maps_have_the_values_of_the_dataset(run):
    """Its maps hold class indices, whatever the category ids are; IoU by plain counting."""
    root, folder, metrics = run
    semantic = json.loads((folder / "semantic.json").read_text())
    assert [each["label"] for each in semantic["categories"]] == list(range(11))
    assert json.loads((folder / INDEX).read_text())["none"] == 11
    truth, found = [], []
    for annotation in semantic["annotations"]:
        name = annotation["file_name"]
        truth.append(np.array(Image.open(root / "shapes/semantic_val" / name)).ravel())
        found.append(np.array(Image.open(folder / "semantic" / name)).ravel())
    truth, found = np.concatenate(truth), np.concatenate(found)
    assert found.dtype == np.uint8
    scored = truth != 255
    ious = [
        100
        * (scored & (truth == v) & (found == v)).sum()
        / (scored & ((truth == v) | (found == v))).sum()
        for v in np.unique(truth[scored])
    ]
    ours, other = same_digits(metrics["semantic"]["ground_truth"]["all"]["mIoU"], np.mean(ious))
    assert ours == other
    assert not (found == 255).any()


def test_the_index_says_what_the_files_are(run):
    _, folder, _ = run
    index = json.loads((folder / INDEX).read_text())
    assert (index["benchmark"], index["dataset"], index["images"]) == ("shapes", NAME, 5)
    assert index["protocol"]["words"] == {"set": "own"}
    assert [each["id"] for each in index["categories"]] == list(IDS)
    assert index["categories"][0]["words"] == ["red disk", "scarlet disk"]
    assert [each["isthing"] for each in index["categories"]] == [1] * 8 + [0] * 3
    assert set(index["files"]) == {
        f"{x}.json" for x in ("images", "panoptic", "instance", "semantic")
    }
    panoptic = json.loads((folder / "panoptic.json").read_text())
    assert [each["image_id"] for each in panoptic["annotations"]] == [0, 1, 2, 3, 4]
    assert panoptic["annotations"][EMPTY]["segments_info"] == []
    assert not [path for path in folder.parent.rglob("*") if path.name.startswith(".")]


def test_a_run_that_breaks_leaves_nothing_that_looks_finished(tmp_path):
    write_dataset(tmp_path, images=2)

    class Breaks(WrongOften):
        def answer(self, sample):
            if sample["image_id"] == 1:
                raise ValueError("broken")
            return super().answer(sample)

    cfg, folder = config(tmp_path / "out"), tmp_path / "out/predictions" / NAME
    with pytest.raises(ValueError, match="broken"):
        evaluate(cfg, Breaks())
    assert not folder.exists()
    evaluate(cfg, WrongOften())
    before = (folder / "panoptic.json").read_bytes()
    with pytest.raises(ValueError, match="broken"):
        evaluate(cfg, Breaks())
    assert (folder / "panoptic.json").read_bytes() == before
    evaluate(cfg, WrongOften(shift=4))
    assert (folder / "panoptic.json").read_bytes() != before
    assert [path.name for path in folder.parent.iterdir()] == [NAME]
    (folder / INDEX).unlink()
    with pytest.raises(ValueError, match=f"{NAME}: predictions are to be written there.*move it"):
        evaluate(cfg, WrongOften())


@pytest.mark.parametrize(
    ("fields", "ids", "ignored", "values", "none"),
    [
        ({"semantic_masks": "x"}, (7, 300), 255, (0, 1), 2),
        ({"semantic_masks": "x", "labels_are_ids": True}, (7, 300), 0, (7, 300), 1),
        ({}, (1, 2, 4), 255, (1, 2, 4), 0),
        ({}, (1, 70_000), 255, (0, 1), 2),  # too large for a PNG
        ({"semantic_masks": "x"}, tuple(range(255)), 255, tuple(range(255)), 256),
    ],
)
def test_label_values(fields, ids, ignored, values, none):
    row = DatasetSplit("x", "x", "val", ("semantic",), "", "images", **fields)
    assert label_values(row, ids) == values
    assert no_class_value(values, ignored) == none


def test_more_than_255_classes_need_16_bits(tmp_path):
    ids = tuple(range(1001, 1301))
    words = Vocabulary.from_names([f"class {i}" for i in ids])
    fields = {"semantic_masks": "masks", "labels_are_ids": True, "category_ids": ids}
    row = DatasetSplit("x", "x", "val", ("semantic",), "", "images", **fields)
    records = [
        {"file_name": f"/{folder}/a.jpg", "image_id": f"{folder}/a", "height": 2, "width": 3}
        for folder in "pq"
    ]
    about = dict.fromkeys(("benchmark", "dataset", "split", "config_hash", "checkpoint"), "x")
    about |= {"protocol": {}, "checkpoint_hash": None}
    writer = PredictionWriter(tmp_path / "x", row, words, ["semantic"], records, about)
    labels = np.array([[0, 255, 256], [299, -1, 1]])
    writer.reset()
    for record in records:
        writer.process([record], [{"semantic_labels": torch.from_numpy(labels)}])
    writer.evaluate()
    for name in ("a", "a-2"):
        with Image.open(tmp_path / f"x/semantic/{name}.png") as image:
            assert image.mode == "I;16"
            assert np.array(image).tolist() == [[1001, 1256, 1257], [1300, 0, 1002]]
    folder = PredictionFolder(tmp_path / "x" / INDEX)
    assert list(folder.images) == ["p/a", "q/a"]
    assert folder.output("q/a")["semantic_labels"].tolist() == labels.tolist()
