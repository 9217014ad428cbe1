"""The mapper: targets that agree with the picture, crowds, empty masks, sizes, broken files."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.config import get_config
from frozenseg.data.mappers.masks import SegmentationMapper, build_mapper
from frozenseg.data.proposals.reader import ProposalFolder, file_digest
from frozenseg.data.proposals.writer import ProposalWriter, append_record
from frozenseg.data.reading import ids_of_rgb, read_image, rgb_of_ids


@pytest.fixture
def record(registered):
    return DatasetCatalog.get("shapes_train_panoptic")[0]


def mapper(**options):
    return SegmentationMapper(is_train=True, image_size=96, **options)


def test_at_scale_one_without_flip_targets_are_the_file(record):
    exact = SegmentationMapper(
        is_train=True, image_size=64, scales=(1.0, 1.0), flip_probability=0.0
    )
    sample = exact(record)
    image = read_image(record["file_name"])
    np.testing.assert_array_equal(sample["image"][:, :48].numpy(), image.transpose(2, 0, 1))
    assert (sample["image"][:, 48:] == 128).all()
    ids = ids_of_rgb(read_image(record["pan_seg_file_name"]))
    segments = [s for s in record["segments_info"] if not s["iscrowd"]]
    assert sample["instances"].gt_classes.tolist() == [s["category_id"] for s in segments]
    for mask, segment in zip(sample["instances"].gt_masks, segments, strict=True):
        np.testing.assert_array_equal(mask[:48].numpy(), ids == segment["id"])
        assert not mask[48:].any()


def test_flip_mirrors_picture_and_targets(record):
    plain, mirrored = (
        SegmentationMapper(is_train=True, image_size=64, scales=(1.0, 1.0), flip_probability=p)(
            record
        )
        for p in (0.0, 1.0)
    )
    assert torch.equal(plain["image"][:, :48].flip(2), mirrored["image"][:, :48])
    assert torch.equal(plain["instances"].gt_masks.flip(2), mirrored["instances"].gt_masks)


def test_types_and_sizes(record):
    sample = mapper()(record, np.random.default_rng(0))
    count = len(record["segments_info"]) - sum(s["iscrowd"] for s in record["segments_info"])
    assert sample["image"].shape == (3, 96, 96)
    assert sample["image"].dtype == torch.uint8
    assert sample["instances"].image_size == (96, 96)
    assert sample["instances"].gt_masks.shape == (count, 96, 96)
    assert sample["instances"].gt_masks.dtype == torch.bool
    assert sample["instances"].gt_classes.dtype == torch.int64
    assert (sample["height"], sample["width"]) == (48, 64)


def test_crowds_are_no_targets_and_the_record_is_untouched(record):
    record["segments_info"][0]["iscrowd"] = 1
    before = copy.deepcopy(record)
    sample = mapper()(record)
    assert record == before
    targets = len(sample["instances"])
    assert targets == sum(not s["iscrowd"] for s in record["segments_info"])
    for segment in record["segments_info"]:
        segment["iscrowd"] = 1
    assert len(mapper()(record)["instances"]) == 0


def test_segments_cut_away_stay_as_empty_masks(record):
    record["segments_info"].append({**record["segments_info"][0], "id": 5, "iscrowd": 0})
    sample = mapper()(record)
    assert not sample["instances"].gt_masks[-1].any()


def test_the_generator_decides_everything(record):
    first, again, other = (mapper()(record, np.random.default_rng(s)) for s in (7, 7, 8))
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["instances"].gt_masks, again["instances"].gt_masks)
    assert not torch.equal(first["image"], other["image"])


def test_test_images_are_resized_by_their_shortest_edge(record):
    sample = SegmentationMapper(is_train=False, test_size=(96, 1000))(record)
    assert sample["image"].shape == (3, 96, 128)
    assert (sample["height"], sample["width"]) == (48, 64)
    assert "instances" not in sample
    assert sample["pan_seg_file_name"] == record["pan_seg_file_name"]
    limited = SegmentationMapper(is_train=False, test_size=(96, 64))(record)
    assert limited["image"].shape == (3, 48, 64)


def test_a_map_of_another_size_is_reported(record, tmp_path):
    record["pan_seg_file_name"] = str(tmp_path / "small.png")
    Image.fromarray(rgb_of_ids(np.ones((10, 10), np.int32))).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match=r"small\.png: is 10x10 .*64x48.*prepare"):
        mapper()(record)


def test_an_image_of_another_size_is_reported(record):
    record["width"] = 65
    with pytest.raises(ValueError, match=r"000000\.jpg: is 64x48 .*65x48"):
        mapper()(record)


def test_the_config_selects_and_sets_the_mapper(record):
    cfg = get_config()
    cfg.INPUT.merge_from_list(["IMAGE_SIZE", 32, "MIN_SCALE", 0.5, "MAX_SCALE", 0.75])
    built = build_mapper(cfg, is_train=True)
    assert (built.image_size, built.scales, built.flip_probability) == (32, (0.5, 0.75), 0.5)
    cfg.INPUT.RANDOM_FLIP = "none"
    assert build_mapper(cfg, is_train=True).flip_probability == 0
    cfg.INPUT.MIN_SIZE_TEST = 24
    assert build_mapper(cfg, is_train=False)(record)["image"].shape == (3, 24, 32)
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 12, 99
    assert build_mapper(cfg, False)(record)["image"].shape == (3, 12, 16)
    cfg.INPUT.DATASET_MAPPER_NAME = "no_such_mapper"
    with pytest.raises(ValueError, match=r"no_such_mapper.*coco_panoptic_lsj"):
        build_mapper(cfg, is_train=True)


@pytest.mark.parametrize(
    ("key", "value"), [("FORMAT", "BGR"), ("FORMAT", "L"), ("RANDOM_FLIP", "vertical")]
)
def test_a_value_without_meaning_is_refused(key, value):
    cfg = get_config()
    cfg.INPUT[key] = value
    with pytest.raises(ValueError, match=f"INPUT.{key} is '{value}'.*use '(RGB|horizontal)'"):
        build_mapper(cfg, is_train=True)


def test_a_test_image_of_one_row_is_resized_to_one_row(record, tmp_path):
    Image.new("RGB", (4000, 1)).save(tmp_path / "row.png")
    record.update(file_name=str(tmp_path / "row.png"), height=1, width=4000)
    sample = SegmentationMapper(is_train=False, test_size=(800, 1333))(record)
    assert sample["image"].shape == (3, 1, 1333)
    assert (sample["height"], sample["width"]) == (1, 4000)


def test_ids_of_a_map_with_transparent_pixels_are_its_colours(record, tmp_path):
    plain = mapper()(record, np.random.default_rng(1))
    rgb = np.array(Image.open(record["pan_seg_file_name"]))
    clear = np.dstack([rgb, np.zeros(rgb.shape[:2], np.uint8)])
    record["pan_seg_file_name"] = str(tmp_path / "clear.png")
    Image.fromarray(clear).save(tmp_path / "clear.png")
    masks = mapper()(record, np.random.default_rng(1))["instances"].gt_masks
    assert masks.any()
    assert torch.equal(masks, plain["instances"].gt_masks)


def test_an_empty_range_of_scales_is_refused():
    with pytest.raises(ValueError, match="MIN_SCALE"):
        mapper(scales=(2.0, 0.1))


def write_proposals(folder, file_name, masks):
    """The folder of an export of one image."""
    file, (height, width) = Path(file_name), masks.shape[1:]
    rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks]
    rows = [{"segmentation": {**rle, "counts": rle["counts"].decode()}} for rle in rles]
    line = {"image": file.name, "sha256": file_digest(file), "masks": rows}
    writer = ProposalWriter(folder, [file.name], {})
    append_record(folder, 0, "run", {**line, "height": height, "width": width})
    assert writer.finish()
    return ProposalFolder(folder)


@pytest.mark.parametrize("count", [0, 3])
def test_test_images_get_their_proposals_at_their_own_size(record, tmp_path, count):
    masks = (np.random.default_rng(0).random((count, 48, 64)) < 0.5).astype(np.uint8)
    proposals = write_proposals(tmp_path, record["file_name"], masks)
    cfg = get_config()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 96, 999
    sample = build_mapper(cfg, False, proposals=proposals)(record)
    assert sample["image"].shape == (3, 96, 128)
    assert sample["sam_masks"].dtype == torch.bool
    np.testing.assert_array_equal(sample["sam_masks"].numpy(), masks)
    assert "sam_masks" not in build_mapper(get_config(), False)(record)
    assert "sam_masks" not in build_mapper(get_config(), True, proposals=proposals)(record)


def test_a_test_image_without_proposals_is_an_error(registered, tmp_path):
    first, second = DatasetCatalog.get("shapes_val_panoptic")[:2]
    proposals = write_proposals(tmp_path, first["file_name"], np.ones((1, 48, 64), np.uint8))
    with pytest.raises(ValueError, match=r"no masks of .*000001\.jpg.*export_sam_masks"):
        SegmentationMapper(is_train=False, proposals=proposals)(second)


def test_proposals_of_another_split_are_an_error(record, registered, tmp_path):
    """Files of both splits have the same names and sizes."""
    [other] = DatasetCatalog.get("shapes_val_panoptic")[:1]
    proposals = write_proposals(tmp_path, other["file_name"], np.ones((1, 48, 64), np.uint8))
    with pytest.raises(ValueError, match=r"000000\.jpg is not the image"):
        SegmentationMapper(is_train=False, proposals=proposals)(record)
