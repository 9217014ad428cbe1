"""Training targets of each task: by hand on small maps, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.config import get_config
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.coco_instances import run_length
from frozenseg.data.mappers.masks import MAPPERS, SegmentationMapper, build_mapper, training_mapper
from frozenseg.data.mappers.targets import InstanceTargets, PanopticTargets, SemanticTargets

KEEP = T.NoOpTransform()


def write(path, labels, mode=None):
    Image.fromarray(np.asarray(labels, np.uint8), mode).save(path)
    return str(path)


def test_semantic_targets_are_the_classes_of_the_crop(tmp_path):
    labels = [[0, 0, 3], [255, 3, 7]]
    record = {"file_name": "x.jpg", "sem_seg_file_name": write(tmp_path / "x.png", labels)}
    crop = T.CropTransform(0, 0, 3, 1)  # the first line
    classes, masks = SemanticTargets(255, 8)(record, (2, 3), crop, 4)
    assert classes.tolist() == [0, 3]
    assert classes.dtype == np.int64
    assert masks.shape == (2, 4, 4)
    np.testing.assert_array_equal(masks[:, 0], [[1, 1, 0, 0], [0, 0, 1, 0]])
    assert not masks[:, 1:].any()
    classes, masks = SemanticTargets(255, 8)(record, (2, 3), KEEP, 3)
    assert classes.tolist() == [0, 3, 7]
    assert masks.sum() == 5  # not the ignored pixel


def test_semantic_targets_know_masks_of_ids_and_refuse_other_labels(tmp_path):
    path = write(tmp_path / "x.png", [[10, 20], [0, 20]])
    record = {"file_name": "x.jpg", "sem_seg_file_name": path, "label_ids": (20, 10)}
    classes, masks = SemanticTargets(0, 2)(record, (2, 2), KEEP, 2)
    assert classes.tolist() == [0, 1]
    np.testing.assert_array_equal(masks[1], [[1, 0], [0, 0]])
    del record["label_ids"]
    with pytest.raises(ValueError, match=r"x\.png: has label 20, but .*classes are 0\.\.1"):
        SemanticTargets(0, 2)(record, (2, 2), KEEP, 2)
    with pytest.raises(ValueError, match=r"x\.png: is 2x2 but its image x\.jpg is 3x2"):
        SemanticTargets(0, 21)(record, (2, 3), KEEP, 2)


def test_semantic_targets_of_a_panoptic_map_join_the_segments_of_a_class(registered):
    record = DatasetCatalog.get("shapes_train_panoptic")[0]
    from_map = SemanticTargets(255, 8)(record, (48, 64), KEEP, 64)
    del record["sem_seg_file_name"]
    from_panoptic = SemanticTargets(255, 8)(record, (48, 64), KEEP, 64)
    np.testing.assert_array_equal(from_map[0], from_panoptic[0])
    np.testing.assert_array_equal(from_map[1], from_panoptic[1])
    assert from_map[0].tolist() == sorted({s["category_id"] for s in record["segments_info"]})


def test_instance_targets_are_polygons_and_runs_without_crowds():
    square = np.zeros((6, 8), np.uint8)
    square[1:4, 2:5] = 1
    rle = coco_mask.encode(np.asfortranarray(square))
    record = {
        "file_name": "x.jpg",
        "annotations": [
            {"category_id": 3, "iscrowd": 0, "segmentation": [[2, 1, 5, 1, 5, 4, 2, 4]]},
            {"category_id": 1, "iscrowd": 0, "segmentation": rle},
            {"category_id": 1, "iscrowd": 1, "segmentation": rle},
        ],
    }
    classes, masks = InstanceTargets()(record, (6, 8), T.HFlipTransform(8), 8)
    assert classes.tolist() == [3, 1]
    for mask in masks:
        np.testing.assert_array_equal(mask[:6], square[:, ::-1])
        assert not mask[6:].any()
    assert coco_mask.area(run_length([[0, 0, 2, 0, 2, 2, 0, 2]], (6, 8))) == 4


def test_what_the_crop_cuts_away_is_dropped_of_instances_and_kept_of_segments(tmp_path):
    """As in Mask2Former's two mappers."""
    squares = [[[0, 0, 2, 0, 2, 2, 0, 2]], [[4, 4, 7, 4, 7, 6, 4, 6]]]
    record = {
        "file_name": "x.jpg",
        "annotations": [
            {"category_id": c, "iscrowd": 0, "segmentation": polygons}
            for c, polygons in enumerate(squares)
        ],
    }
    crop = T.CropTransform(0, 0, 4, 4)
    classes, masks = InstanceTargets()(record, (6, 8), crop, 4)
    assert (classes.tolist(), masks.shape, masks.sum()) == ([0], (1, 4, 4), 4)
    nothing = T.CropTransform(0, 2, 3, 2)
    classes, masks = InstanceTargets()(record, (6, 8), nothing, 4)
    assert (classes.shape, classes.dtype, masks.shape) == ((0,), np.int64, (0, 4, 4))

    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[:2, :2, 0], rgb[4:, 4:, 0] = 1, 2
    Image.fromarray(rgb).save(tmp_path / "x.png")
    segments = [{"id": i, "category_id": i, "iscrowd": 0} for i in (1, 2)]
    panoptic = {"file_name": "x.jpg", "pan_seg_file_name": str(tmp_path / "x.png")}
    classes, masks = PanopticTargets()({**panoptic, "segments_info": segments}, (6, 8), crop, 4)
    assert classes.tolist() == [1, 2]
    assert masks.sum((1, 2)).tolist() == [4, 0]


def test_the_mappers_of_the_config_make_their_targets(registered):
    cfg = get_config()
    cfg.INPUT.IMAGE_SIZE = 64
    cfg.DATASETS.TRAIN = ("shapes_train_panoptic",)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 8
    record = DatasetCatalog.get("shapes_train_panoptic")[0]
    found = {}
    for name in MAPPERS:
        cfg.INPUT.DATASET_MAPPER_NAME = name
        if name == "coco_instance_lsj":
            with pytest.raises(ValueError, match=r"take 'coco_panoptic_lsj' or 'semantic_lsj'"):
                build_mapper(cfg, is_train=True)
            continue
        mapper = build_mapper(cfg, is_train=True)
        sample = mapper(record, np.random.default_rng(3))
        assert set(sample) == {"file_name", "image_id", "height", "width", "image", "instances"}
        found[name] = sample
    panoptic, semantic = found["coco_panoptic_lsj"], found["semantic_lsj"]
    assert torch.equal(panoptic["image"], semantic["image"])  # the same draws
    joined = semantic["instances"]
    crowds = {s["category_id"] for s in record["segments_info"] if s["iscrowd"]}
    compared = 0
    for label, mask in zip(joined.gt_classes, joined.gt_masks, strict=True):
        if int(label) in crowds:  # a class of the semantic map, but no panoptic target
            continue
        compared += 1
        same = panoptic["instances"].gt_classes == label
        assert torch.equal(mask, panoptic["instances"].gt_masks[same].any(0))
    assert compared > 1


@pytest.mark.parametrize(
    ("kinds", "given", "taken"),
    [
        (["panoptic"], "", "coco_panoptic_lsj"),
        (["panoptic"], "semantic_lsj", "semantic_lsj"),
        (["instances"], "", "coco_instance_lsj"),
        (["semantic"], "", "semantic_lsj"),
        (["semantic", "panoptic"], "", "semantic_lsj"),
        (["episodes"], "", "episodes"),
        (["by hand"], "", "coco_panoptic_lsj"),
        (["by hand", "instances"], "", "coco_instance_lsj"),
        ([], "", "coco_panoptic_lsj"),
        (
            ["instances"],
            "coco_panoptic_lsj",
            r"is 'coco_panoptic_lsj'.* take 'coco_instance_lsj'",
        ),
        (["semantic"], "episodes", r"NAME is 'episodes', but .*mapper_0 has label maps: take 'sem"),
        (
            ["panoptic", "instances"],
            "",
            r"_0 has panoptic .* and mapper_1 .*reads them together",
        ),
        (["instance maps"], "", r"mapper_0 has instance maps: no mapper .* reads them; train on"),
    ],
)
def test_the_annotations_choose_the_mapper(kinds, given, taken):
    files = {
        "panoptic": {"panoptic_json": "a.json"},
        "instances": {"instance_json": "a.json"},
        "semantic": {"semantic_masks": "a"},
        "episodes": {"episodes_json": "a.json"},
        "instance maps": {"instance_masks": "a"},
    }
    cfg = get_config()
    cfg.INPUT.DATASET_MAPPER_NAME = given
    cfg.DATASETS.TRAIN = [f"mapper_{number}" for number in range(len(kinds))]
    try:
        for name, kind in zip(cfg.DATASETS.TRAIN, kinds, strict=True):
            if kind in files:
                row = DatasetSplit(name, name, "train", (), "a; b", "images", **files[kind])
                assert row.kind == kind
                MetadataCatalog.get(name).dataset_split = row
        if taken.isidentifier():
            assert training_mapper(cfg) == taken
        else:
            with pytest.raises(ValueError, match=taken):
                training_mapper(cfg)
    finally:
        for name in cfg.DATASETS.TRAIN:
            MetadataCatalog.pop(name, None)


def test_training_sets_must_ignore_the_same_label(registered):
    MetadataCatalog.get("targets_other").set(ignore_label=0)
    cfg = get_config()
    cfg.INPUT.DATASET_MAPPER_NAME = "semantic_lsj"
    cfg.DATASETS.TRAIN = ("shapes_train_panoptic", "targets_other")
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN: .*different labels \(\[0, 255\]\)"):
        build_mapper(cfg, is_train=True)
    assert isinstance(build_mapper(cfg, is_train=False), SegmentationMapper)
    MetadataCatalog.remove("targets_other")
