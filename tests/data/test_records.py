"""Records of the formats in which file names are not what the annotation file says."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from frozenseg.data.catalog.lookup import find_split, row_vocabulary
from frozenseg.data.reading import rgb_of_ids
from frozenseg.data.records import load_records

CITY = "frankfurt_000000_000294"


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def write_json(path, images, annotations):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations}))


def cityscapes(root):
    """One image as cityscapesscripts' createPanopticImgs and createTrainIdLabelImgs leave it."""
    truth = root / "cityscapes/gtFine/val"
    image = root / "cityscapes/leftImg8bit/val/frankfurt" / f"{CITY}_leftImg8bit.png"
    save(image, np.zeros((2, 4, 3), np.uint8))
    ids = np.array([[7, 7, 26001, 26001]] * 2, np.int32)
    save(truth / "frankfurt" / f"{CITY}_gtFine_instanceIds.png", ids.astype(np.uint16))
    save(
        truth / "frankfurt" / f"{CITY}_gtFine_labelTrainIds.png",
        np.array([[0, 0, 13, 13]] * 2, np.uint8),
    )
    save(truth.parent / "cityscapes_panoptic_val" / f"{CITY}_gtFine_panoptic.png", rgb_of_ids(ids))
    segments = [
        {"id": 7, "category_id": 7, "area": 4, "bbox": [0, 0, 2, 2], "iscrowd": 0},
        {"id": 26001, "category_id": 26, "area": 4, "bbox": [2, 0, 2, 2], "iscrowd": 0},
    ]
    write_json(
        truth.parent / "cityscapes_panoptic_val.json",
        [{"id": CITY, "width": 4, "height": 2, "file_name": f"{CITY}_gtFine_leftImg8bit.png"}],
        [
            {
                "image_id": CITY,
                "file_name": f"{CITY}_gtFine_panoptic.png",
                "segments_info": segments,
            }
        ],
    )
    return image, truth / "frankfurt" / CITY


def records(name, root):
    row = find_split(name)
    return load_records(row, row_vocabulary(row, root), root)


def test_cityscapes_files_lie_in_folders_of_cities(tmp_path):
    image, truth = cityscapes(tmp_path)
    [panoptic] = records("cityscapes_fine_panoptic_val", tmp_path)
    [semantic] = records("cityscapes_fine_sem_seg_val", tmp_path)
    [instance] = records("cityscapes_fine_instance_seg_val", tmp_path)
    assert {r["file_name"] for r in (panoptic, semantic, instance)} == {str(image)}
    labels = f"{truth}_gtFine_labelTrainIds.png"
    assert panoptic["sem_seg_file_name"] == semantic["sem_seg_file_name"] == labels
    assert instance["instance_file_name"] == f"{truth}_gtFine_instanceIds.png"
    assert panoptic["image_id"] == CITY
    assert (panoptic["height"], panoptic["width"]) == (2, 4)
    assert [s["category_id"] for s in panoptic["segments_info"]] == [0, 13]  # road, car
    assert [s["isthing"] for s in panoptic["segments_info"]] == [False, True]


def test_vistas_labels_are_those_of_the_release_whose_65_is_ignored(tmp_path):
    root = tmp_path / "mapillary_vistas/validation"
    save(root / "images/a.jpg", np.zeros((2, 2, 3), np.uint8))
    save(root / "panoptic/a.png", rgb_of_ids(np.full((2, 2), 300)))
    palette = Image.fromarray(np.array([[0, 64], [65, 65]], np.uint8)).convert("P")
    (root / "labels").mkdir()
    palette.putpalette(list(range(256)) * 3)
    palette.save(root / "labels/a.png")
    segment = {"id": 300, "category_id": 65, "area": 4, "bbox": [0, 0, 2, 2], "iscrowd": 0}
    write_json(
        root / "panoptic/panoptic_2018.json",
        [{"id": "a", "file_name": "a.jpg", "height": 2, "width": 2}],
        [{"image_id": "a", "file_name": "a.png", "segments_info": [segment]}],
    )
    [record] = records("mapillary_vistas_panoptic_val", tmp_path)
    assert record["segments_info"][0]["category_id"] == 64
    assert record["sem_seg_file_name"] == str(root / "labels/a.png")
    assert find_split("mapillary_vistas_panoptic_val").ignore_label == 65


def test_an_image_suffix_in_capitals_or_a_name_with_dots_does_not_confuse_the_label_file(tmp_path):
    row = find_split("openvocab_ade20k_panoptic_val")
    assert row.semantic_file({"file_name": "sub/a.b.png"}) == "sub/a.b.png"
