"""The reader of COCO panoptic data: what it returns, and how it reports broken data."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from detectron2.data import DatasetCatalog
from panopticapi.utils import id2rgb, rgb2id
from PIL import Image

from frozenseg.data.reading import (
    ids_of_rgb,
    read_image,
    read_label_png,
    read_panoptic_png,
    rgb_of_ids,
    semantic_of_panoptic,
)
from tests.shapes_world import VAL, register_shapes

NAME = VAL.name


@pytest.fixture
def own_copy(shapes_root, tmp_path):
    """A copy of the data that a test may damage, registered."""
    shutil.copytree(shapes_root / "shapes", tmp_path / "shapes")
    register_shapes(tmp_path)
    return tmp_path / "shapes"


def edit(index, change):
    content = json.loads(index.read_text())
    change(content)
    index.write_text(json.dumps(content))


def test_ids_and_colours_are_those_of_panopticapi():
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 77, 2**24 - 1]], dtype=np.int32)
    np.testing.assert_array_equal(rgb_of_ids(ids), id2rgb(ids))
    np.testing.assert_array_equal(ids_of_rgb(id2rgb(ids)), rgb2id(id2rgb(ids)))
    np.testing.assert_array_equal(ids_of_rgb(rgb_of_ids(ids)), ids)


def test_records_hold_contiguous_classes_and_agree_with_the_pixels(registered):
    for record in DatasetCatalog.get(NAME):
        ids = ids_of_rgb(read_image(record["pan_seg_file_name"]))
        assert ids.shape == (record["height"], record["width"]) == (48, 64)
        for segment in record["segments_info"]:
            assert segment["area"] == (ids == segment["id"]).sum() > 0
            assert segment["isthing"] == (segment["category_id"] < 8)
        from_panoptic = semantic_of_panoptic(ids, record["segments_info"], 255)
        np.testing.assert_array_equal(read_label_png(record["sem_seg_file_name"]), from_panoptic)


def test_training_records_index_the_training_vocabulary(registered):
    classes = {
        s["category_id"]
        for r in DatasetCatalog.get("shapes_train_panoptic")
        for s in r["segments_info"]
    }
    assert classes <= set(range(8))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["annotations"][0]["segments_info"][0].update(category_id=99),
            "category id 99",
        ),
        (lambda c: c["annotations"][0].update(image_id=-5), "image -5: .*unknown .* image_id"),
        (lambda c: c.pop("images"), "missing required field images"),
        (lambda c: c.update(annotations=[]), "no annotations"),
    ],
)
def test_an_inconsistent_json_is_reported_with_its_name(own_copy, change, message):
    edit(own_copy / "panoptic_val.json", change)
    with pytest.raises(ValueError, match=message) as error:
        DatasetCatalog.get(NAME)
    assert "panoptic_val.json" in str(error.value)


def test_a_cut_json_is_reported(own_copy):
    index = own_copy / "panoptic_val.json"
    index.write_text(index.read_text()[:100])
    with pytest.raises(ValueError, match=r"panoptic_val\.json: not valid JSON"):
        DatasetCatalog.get(NAME)


def test_missing_pictures_are_reported_with_the_remedy(own_copy):
    shutil.rmtree(own_copy / "val")
    with pytest.raises(FileNotFoundError, match=r"000000\.jpg.*run python make_shapes"):
        DatasetCatalog.get(NAME)


@pytest.mark.parametrize("name", ["id", "category_id", "area"])
@pytest.mark.parametrize("value", [None, "7"])
def test_a_segment_without_one_of_its_numbers_is_reported(own_copy, name, value):
    index = own_copy / "panoptic_val.json"
    edit(index, lambda c: c["annotations"][1]["segments_info"][0].update({name: value}))
    place = r"panoptic_val\.json: \$\.annotations\[1\]\.segments_info\[0\]"
    got = "null" if value is None else "str"
    with pytest.raises(
        ValueError, match=rf"{place}\.{name}: Expected int.*, got {got}; delete sha"
    ):
        DatasetCatalog.get(NAME)
    edit(index, lambda c: c["annotations"][1]["segments_info"][0].pop(name))
    with pytest.raises(ValueError, match=f"{place}: Object missing required field {name}; delete"):
        DatasetCatalog.get(NAME)


def test_a_segment_is_no_crowd_unless_told(own_copy):
    edit(
        own_copy / "panoptic_val.json",
        lambda c: c["annotations"][0]["segments_info"][0].pop("iscrowd", None),
    )
    assert DatasetCatalog.get(NAME)[0]["segments_info"][0]["iscrowd"] == 0


def test_a_panoptic_map_keeps_its_ids_whatever_its_alpha_and_needs_rgb(tmp_path):
    ids = np.array([[0, 7], [70000, 2**24 - 1]])
    alpha = np.array([[0, 0], [128, 255]], np.uint8)
    for name, values in (("rgb", rgb_of_ids(ids)), ("rgba", np.dstack([rgb_of_ids(ids), alpha]))):
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(ids_of_rgb(read_panoptic_png(tmp_path / f"{name}.png")), ids)
    for mode in ("L", "P", "LA", "I;16"):
        Image.new(mode, (2, 2)).save(tmp_path / "grey.png")
        with pytest.raises(ValueError, match=rf"grey\.png: is a PNG of mode {mode}.*RGB.*prepare"):
            read_panoptic_png(tmp_path / "grey.png")


@pytest.mark.parametrize("read", [read_image, read_label_png, read_panoptic_png])
def test_a_truncated_png_is_reported_with_its_name(tmp_path, read):
    path = tmp_path / "cut.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"cut\.png.*damaged.*get it again"):
        read(path)


def test_a_label_map_of_several_channels_is_refused_and_16_bits_are_kept(tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(ValueError, match=r"rgb\.png.*3 channels.*mask_values: color"):
        read_label_png(tmp_path / "rgb.png")
    deep = np.array([[0, 700], [65535, 3]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_label_png(tmp_path / "deep.png"), deep)
