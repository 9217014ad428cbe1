"""The reader of COCO and LVIS instance files, against pycocotools and for broken files."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from detectron2.structures import BoxMode
from PIL import Image
from pycocotools import mask as mask_util
from pycocotools.coco import COCO

from frozenseg.data.catalog.lookup import find_split
from frozenseg.data.catalog.split import DatasetSplit, Origin
from frozenseg.data.coco_instances import XYWH_ABS
from frozenseg.data.records import load_records
from frozenseg.data.verify.run import verify
from frozenseg.vocab import Vocabulary

ROW = DatasetSplit(
    name="x_val",
    benchmark="x",
    split="val",
    tasks=("instance",),
    vocabulary="cat; dog",
    images="images",
    instance_json="i.json",
    category_ids=(7, 9),
    origin=Origin("frozenseg data prepare x"),
)
SQUARE = [[1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0, 5.0]]


def crowd(height=6, width=8):
    """Uncompressed RLE, as COCO's crowds: column by column, starting with zeros."""
    return {"counts": [height, 2 * height, (width - 3) * height], "size": [height, width]}


def content():
    images = [
        {"id": 5, "file_name": "b.jpg", "height": 6, "width": 8},
        {"id": 2, "file_name": "a.jpg", "height": 6, "width": 8},
    ]
    common = {"image_id": 5, "iscrowd": 0, "area": 16}
    annotations = [
        {"id": 1, **common, "category_id": 9, "bbox": [1, 1, 4, 4], "segmentation": SQUARE},
        {"id": 2, **common, "category_id": 7, "bbox": [1, 0, 2, 6], "segmentation": crowd()},
        {"id": 3, **common, "category_id": 7, "bbox": [0, 0, 1, 1], "segmentation": [[1, 1, 2, 2]]},
    ]
    annotations[1]["iscrowd"] = 1
    categories = [{"id": 7, "name": "cat"}, {"id": 9, "name": "dog"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def load(tmp_path, data, **options):
    (tmp_path / "images").mkdir(exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (8, 6)).save(tmp_path / "images" / name)
    (tmp_path / "i.json").write_text(json.dumps(data))
    return load_records(replace(ROW, **options), Vocabulary.parse(ROW.vocabulary), tmp_path)


def test_objects_have_class_indices_and_the_masks_that_pycocotools_reads(tmp_path, caplog):
    first, second = load(tmp_path, content())
    assert [first["image_id"], second["image_id"]] == [2, 5]
    assert first["annotations"] == []  # an image without objects is still scored
    assert [a["category_id"] for a in second["annotations"]] == [1, 0]
    assert [a["iscrowd"] for a in second["annotations"]] == [0, 1]
    assert second["annotations"][0]["bbox_mode"] == XYWH_ABS == BoxMode.XYWH_ABS
    coco = COCO(tmp_path / "i.json")
    crowd_mask = mask_util.decode(second["annotations"][1]["segmentation"])
    np.testing.assert_array_equal(crowd_mask, coco.annToMask(coco.anns[2]))
    assert crowd_mask.sum() == 12
    assert "an object has no valid polygon and is left out (1 times)" in caplog.text


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            {"bbox": [100, 0, 220, 60]},
            "box [100.0, 0.0, 220.0, 60.0], of the mask [100.0, ",
        ),
        ({"area": 16000}, "area 16000, of the mask 7237.5"),
        ({"area": 1}, "area 1, of the mask 7237.5"),
        (
            {"segmentation": [[0, 0, 120, 0, 120, 60, 0, 60]]},
            "box [100.0, 0.0, 120.0, 60.0], of the mask [0.0, 0.0, 120.0",
        ),
        ({"segmentation": {"size": [200, 400], "counts": [0, 200, 79800]}}, "of the mask [0.0, "),
    ],
)
def test_a_box_or_area_of_another_mask_is_a_warning_with_its_count(tmp_path, caplog, entry, said):
    size = {"height": 200, "width": 400}
    right = {
        **{"id": 1, "image_id": 2, "category_id": 7, "bbox": [100, 0, 120, 60], "area": 7150.5},
        "segmentation": [[100, -1.5, 150, 0, 150, 60, 100, 60], [150, 0, 220, 0, 220, 60, 150, 60]],
    }
    data = {**content(), "images": [{**image, **size} for image in content()["images"]]}
    data["annotations"] = [right, {**right, "id": 4, "bbox": [99, 0, 122.4, 61]}]
    load(tmp_path, data)
    assert "of an object" not in caplog.text
    data["annotations"] += [{**right, "id": 3, **entry}]
    caplog.clear()
    load(tmp_path, data)
    assert "of an object" in caplog.text
    assert "(1 times)" in caplog.text
    report = verify(ROW, tmp_path, images=0, progress=False)
    (found,) = [each for each in report.findings if said in each.where[0]]
    assert (found.level, found.count) == ("warning", 1)
    assert found.where[0].startswith(f"{tmp_path / 'i.json'}, annotation 3: ")


def test_lvis_finds_its_images_by_their_url_and_keeps_its_lists(tmp_path):
    row = replace(find_split("openvocab_lvis_v1_val"), classes=2)
    data = content()
    for image, split in zip(data["images"], ("val2017", "train2017"), strict=True):
        name = f"{image.pop('id'):012d}.jpg"
        image.update(id=int(name[:12]), coco_url=f"http://images.cocodataset.org/{split}/{name}")
        image.update(neg_category_ids=[9], not_exhaustive_category_ids=[7])
        del image["file_name"]
        for category, frequency in zip(data["categories"], "rf", strict=True):
            category["frequency"] = frequency
        (tmp_path / "coco" / split).mkdir(parents=True)
        Image.new("RGB", (8, 6)).save(tmp_path / "coco" / split / name)
    path = tmp_path / row.instance_json
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(data))
    vocabulary = Vocabulary.from_lvis_annotations(path)
    first, second = load_records(row, vocabulary, tmp_path)
    assert first["file_name"] == str(tmp_path / "coco" / "train2017" / "000000000002.jpg")
    assert second["file_name"] == str(tmp_path / "coco" / "val2017" / "000000000005.jpg")
    assert second["neg_category_ids"] == [9]
    assert second["not_exhaustive_category_ids"] == [7]
    assert len(second["annotations"]) == 2


@pytest.mark.parametrize(
    ("entries", "key", "value", "message"),
    [
        ("categories", "frequency", "x", "i.json: category 7: a category has no frequency"),
        ("categories", "frequency", None, "category 7: a category has no frequency"),
        ("categories", "id", 0, "i.json: category 7: a category has no frequency"),
        ("images", "neg_category_ids", None, "image 5: None: an image has no neg_category_ids"),
        ("images", "not_exhaustive_category_ids", [4], r"image 5: \[4\]: .*that is no class"),
    ],
)
def test_what_the_federated_ap_needs_is_there(tmp_path, entries, key, value, message):
    data = content()
    for image in data["images"]:
        image.update(coco_url=f"http://x.y/images/{image['file_name']}")
        image.update(neg_category_ids=[9], not_exhaustive_category_ids=[])
    for category in data["categories"]:
        category["frequency"] = "r"
    data[entries][0][key] = value
    if value is None:
        del data[entries][0][key]
    with pytest.raises(ValueError, match=message):
        load(tmp_path, data, images="", evaluator="lvis")


def damage_category(data):
    data["annotations"][0]["category_id"] = 3


def damage_image(data):
    data["annotations"][0]["image_id"] = 77


def damage_segmentation(data):
    data["annotations"][0]["segmentation"] = {"size": [6, 8]}


def damage_box(data):
    del data["annotations"][0]["bbox"]


def damage_name(data):
    del data["images"][0]["file_name"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_category, r"i\.json, annotation 1: category id 3: .* not one of the 2"),
        (damage_image, "annotation 1: image_id 77: an annotation has an unknown image_id"),
        (
            damage_segmentation,
            r"\$\.annotations\[0\]\.segmentation: Object missing required field counts; replace",
        ),
        (
            damage_box,
            r"\$\.annotations\[0\]: Object missing required field bbox; replace them: run",
        ),
        (damage_name, "image 5 has no file_name"),
        (
            lambda data: data.pop("images"),
            "missing required field images; .*a COCO instance annotation file",
        ),
        (lambda data: data.update(annotations=[]), "no annotations; .*run frozenseg"),
    ],
)
def test_a_broken_file_is_named(tmp_path, damage, message):
    data = content()
    damage(data)
    with pytest.raises(ValueError, match=message):
        load(tmp_path, data)


def test_missing_images_are_reported_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.jpg does not exist; run frozenseg"):
        load(tmp_path, content(), images="nowhere")
