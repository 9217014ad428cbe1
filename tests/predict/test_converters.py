"""Segments in other tools' forms, read back by these tools or by the form that they document."""

import dataclasses
import json
import sys
from xml.etree import ElementTree

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from frozenseg.predict.converters import COLUMNS, outlines, save_cvat
from frozenseg.predict.segmentation import from_label_map, from_masks
from frozenseg.vocab import Vocabulary

WORDS = Vocabulary.parse("cat, kitten; dog; <b>sky</b> & sea:stuff")


def blobs(seed, size=(90, 120), blur=7):
    """A mask of several parts with holes, ragged edges and single pixels."""
    noise = np.random.default_rng(seed).normal(size=size).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), blur) > 0


def example(task="panoptic"):
    if task == "instance":
        masks = [(blobs(1), 0, 0.9), (blobs(2), 1, 0.6)]
        return from_masks(masks, (90, 120), WORDS)
    label_map = np.zeros((90, 120), dtype=np.int32)
    label_map[blobs(3)] = 4
    label_map[blobs(4) & (label_map == 0)] = 9
    found = from_label_map(label_map, {4: 0, 9: 2}, WORDS, task, {4: 0.75})
    return dataclasses.replace(found, source="photos/a.jpg")


def segment_of(mask):
    return from_masks([(mask, 0, 0.9)], mask.shape, WORDS)[0]


NOTHING = from_masks([], (5, 7), WORDS)
DOT = np.zeros((6, 8), bool)
DOT[2, 3] = True
DIAGONAL = np.eye(6, 8, dtype=bool)
FRAME = np.ones((6, 8), bool)
FRAME[2:4, 2:5] = False
FULL = np.ones((6, 8), bool)
LINE = np.zeros((6, 8), bool)
LINE[3] = True
SHAPES = [
    DOT,
    DIAGONAL,
    FRAME,
    FULL,
    LINE,
    *(blobs(seed, blur=b) for seed in range(5) for b in (1, 3, 9)),
]


def shoelace(ring):
    x, y = ring.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2


@pytest.mark.parametrize("mask", SHAPES)
def test_outlines_enclose_exactly_the_mask(mask):
    rings = outlines(segment_of(mask))
    assert sum(map(shoelace, rings)) == mask.sum()
    assert len(rings) == cv2.connectedComponents(mask.astype(np.uint8))[0] - 1
    rles = coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], *mask.shape)
    assert np.array_equal(coco_mask.decode(coco_mask.merge(rles)), mask)


def test_polygons_of_all_segments():
    assert NOTHING.polygons() == []
    rings = from_masks([(DOT, 0, 0.9)], DOT.shape, WORDS).polygons()[0]
    assert sorted(map(tuple, rings[0])) == [(3, 2), (3, 3), (4, 2), (4, 3)]
    assert [len(parts) > 0 for parts in example().polygons()] == [True, True]


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def filled_as_yolo(line, size):
    """As Ultralytics fills it: pixels by truncation, then `fillPoly`; supervision: see below."""
    number, *numbers = line.split()
    points = np.array(numbers, dtype=np.float32).reshape(-1, 2) * (size[1], size[0])
    assert len(points) >= 3
    canvas = np.zeros(size, dtype=np.uint8)
    cv2.fillPoly(canvas, [points.astype(np.int32)], 1)
    return int(number), canvas.astype(bool)


@pytest.mark.parametrize("mask", [mask for mask in SHAPES if mask.shape[0] < 50])
def test_yolo_polygons_of_simple_shapes_are_exact(mask, tmp_path):
    path = from_masks([(mask, 1, 0.9)], mask.shape, WORDS).to_yolo(tmp_path / "new" / "a.txt")
    (line,) = path.read_text().splitlines()
    number, filled = filled_as_yolo(line, mask.shape)
    assert number == 1
    assert iou(filled, mask) >= (0.98 if mask is not FRAME else 0.95)


@pytest.mark.parametrize("seed", range(8))
def test_yolo_polygons_filled_again(seed, tmp_path):
    mask = blobs(seed, (480, 640), blur=12)
    path = from_masks([(mask, 0, 0.9)], mask.shape, WORDS).to_yolo(tmp_path / "a.txt")
    (line,) = path.read_text().splitlines()
    assert iou(filled_as_yolo(line, mask.shape)[1], mask) >= 0.98


def test_supervision_reads_the_yolo_labels(tmp_path):
    supervision = pytest.importorskip("supervision")
    found = example()
    Image.new("RGB", (120, 90)).save(tmp_path / "a.png")
    found.to_yolo(tmp_path / "a.txt")
    names = json.dumps(list(WORDS.names))
    (tmp_path / "data.yaml").write_text(f"nc: 3\nnames: {names}\n", encoding="utf-8")
    data = supervision.DetectionDataset.from_yolo(
        str(tmp_path), str(tmp_path), str(tmp_path / "data.yaml"), force_masks=True
    )
    ((_, _, detections),) = list(data)
    assert detections.class_id.tolist() == [0, 2]
    for mask, segment in zip(detections.mask, found, strict=True):
        assert iou(mask.astype(bool), segment.mask) >= 0.96  # small, in many parts


def test_tables_are_read_by_pandas(tmp_path):
    found = example()
    table = found.to_pandas()
    assert list(table.columns) == list(COLUMNS)
    assert table.name.tolist() == ["cat", "<b>sky</b> & sea"]
    assert table.area.tolist() == [segment.area for segment in found]
    assert table.score[0] == 0.75
    assert np.isnan(table.score[1])
    read = pd.read_csv(found.to_csv(tmp_path / "a.csv"))
    pd.testing.assert_frame_equal(read, table, check_dtype=False)
    assert len(pd.read_csv(NOTHING.to_csv(tmp_path / "b.csv"))) == len(NOTHING.to_pandas()) == 0


def test_names_with_commas_quotes_and_line_ends_survive_csv(tmp_path):
    words = Vocabulary.from_names(['a "b", c']) if hasattr(Vocabulary, "from_names") else WORDS
    found = from_masks([(DOT, 0, 0.5)], DOT.shape, words)
    assert pd.read_csv(found.to_csv(tmp_path / "a.csv")).name.tolist() == [words.names[0]]


def test_no_pandas_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        example().to_pandas()


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_instances_of_detectron2(task):
    found = example(task)
    instances = found.to_detectron2()
    assert len(instances) == 2
    assert instances.image_size == (90, 120)
    assert instances.pred_masks.dtype == torch.bool
    assert instances.pred_boxes.tensor.tolist() == found.boxes_xyxy.tolist()
    assert instances.pred_classes.tolist() == [each.class_index for each in found]
    assert instances.scores.tolist() == pytest.approx([each.score or 1.0 for each in found])
    for mask, segment in zip(instances.pred_masks, found, strict=True):
        assert np.array_equal(mask, segment.mask)
    nothing = NOTHING.to_detectron2()
    assert (len(nothing), nothing.pred_masks.shape) == (0, (0, 5, 7))


def test_dicts_of_hugging_face():
    cat, sky = example().to_huggingface()
    assert (cat["label"], cat["score"], sky["score"]) == ("cat", 0.75, None)
    assert (cat["mask"].mode, cat["mask"].size) == ("L", (120, 90))
    assert np.array_equal(np.asarray(cat["mask"]) == 255, example()[0].mask)
    assert set(np.unique(cat["mask"])) == {0, 255}


def test_arguments_of_fiftyone():
    found = example()
    cat = found.to_fiftyone()[0]
    x, y, width, height = cat["bounding_box"]
    left, top = round(x * 120), round(y * 90)
    whole = np.zeros((90, 120), bool)
    whole[top : top + round(height * 90), left : left + round(width * 120)] = cat["mask"]
    assert np.array_equal(whole, found[0].mask)
    assert (cat["label"], cat["confidence"], cat["mask"].dtype) == ("cat", 0.75, bool)


def test_labelme_polygons_filled_again(tmp_path):
    found = dataclasses.replace(example(), source=str(tmp_path / "photos" / "a.jpg"))
    path = found.to_labelme(tmp_path / "labels" / "a.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert (content["imageHeight"], content["imageWidth"]) == (90, 120)
    assert content["imagePath"] == "../photos/a.jpg"
    for segment in found:
        canvas = Image.new("1", (120, 90))
        parts = [s for s in content["shapes"] if s["group_id"] == segment.id]
        assert {part["label"] for part in parts} == {segment.name}
        for part in parts:
            points = [tuple(point) for point in part["points"]]
            ImageDraw.Draw(canvas).polygon(points, outline=1, fill=1)
        assert iou(np.asarray(canvas), segment.mask) >= 0.95


def masks_of_cvat(image):
    size = int(image.get("height")), int(image.get("width"))
    for each in image.findall("mask"):
        left, top, width, height = (int(each.get(k)) for k in ("left", "top", "width", "height"))
        runs = [int(run) for run in each.get("rle").split(",")]
        pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
        whole = np.zeros(size, bool)
        whole[top : top + height, left : left + width] = pixels
        yield each.get("label"), int(each.get("z_order")), whole


@pytest.mark.parametrize("task", ["panoptic", "instance"])
def test_cvat_masks_are_exact(task, tmp_path):
    found = dataclasses.replace(example(task), source=str(tmp_path / "a" / "1.jpg"))
    other = dataclasses.replace(NOTHING, source=str(tmp_path / "b" / "1.jpg"))
    root = ElementTree.parse(save_cvat(iter([found, other]), tmp_path / "a.xml")).getroot()
    assert root.findtext("version") == "1.1"
    labels = [each.findtext("name") for each in root.findall("meta/task/labels/label")]
    assert labels == list(WORDS.names)
    first, second = root.findall("image")
    assert [first.get("name"), second.get("name")] == ["a/1.jpg", "b/1.jpg"]
    assert second.findall("mask") == []
    masks = sorted(masks_of_cvat(first), key=lambda each: -each[1])
    for (label, _, mask), segment in zip(masks, found, strict=True):
        assert label == segment.name
        assert np.array_equal(mask, segment.mask)


@pytest.mark.parametrize("mask", SHAPES)
def test_cvat_runs_of_any_mask(mask, tmp_path):
    path = from_masks([(mask, 0, 0.9)], mask.shape, WORDS).to_cvat(tmp_path / "a.xml")
    ((_, _, read),) = masks_of_cvat(ElementTree.parse(path).getroot().find("image"))
    assert np.array_equal(read, mask)


def test_nothing_to_write(tmp_path):
    with pytest.raises(ValueError, match="no segmentation was given"):
        save_cvat([], tmp_path / "a.xml")
    assert NOTHING.to_yolo(tmp_path / "a.txt").read_text() == ""
    assert json.loads(NOTHING.to_labelme(tmp_path / "a.json").read_text())["shapes"] == []
    assert list(tmp_path.glob("*.xml")) == []
