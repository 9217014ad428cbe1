"""A user's own dataset is a YAML file: what it may say, and what is wrong with it in words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from frozenseg.data.catalog.lookup import row_vocabulary
from frozenseg.data.catalog.own_datasets import KEYS, is_dataset_file, read_dataset_file
from frozenseg.data.catalog.register import (
    register_dataset_file,
    register_splits,
    registered_split,
)
from frozenseg.data.image_mask_pairs import read_semantic_labels
from frozenseg.data.verify.run import rows_named, verify

STREETS = {
    "name": "streets_val",
    "images": "pictures",
    "semantic_masks": "masks",
    "classes": ["road:stuff", ["car", "automobile"], "sky:stuff"],
}
KITCHEN = {
    "name": "kitchen_val",
    "images": "pictures",
    "panoptic_json": "panoptic.json",
    "panoptic_masks": "panoptic",
}


@pytest.fixture
def folder(tmp_path):
    """Two pictures of different kinds with label maps and panoptic maps, and a class list."""
    for name in ("pictures", "masks", "panoptic"):
        (tmp_path / name).mkdir()
    annotations, images = [], []
    for number, name in enumerate(("a.jpg", "b.png")):
        Image.new("RGB", (4, 2)).save(tmp_path / "pictures" / name)
        labels = np.array([[0, 1, 2, 255]] * 2, np.uint8)
        Image.fromarray(labels).save(tmp_path / "masks" / f"{name[0]}.png")
        ids = np.zeros((2, 4, 3), np.uint8)
        ids[..., 0] = 9
        Image.fromarray(ids).save(tmp_path / "panoptic" / f"{name[0]}.png")
        images.append({"id": number, "file_name": name, "height": 2, "width": 4})
        segment = {"id": 9, "category_id": 5, "area": 8, "bbox": [0, 0, 4, 2]}
        annotations.append(
            {"image_id": number, "file_name": f"{name[0]}.png", "segments_info": [segment]}
        )
    categories = [{"id": 5, "name": "cup", "isthing": 1}, {"id": 3, "name": "wall", "isthing": 0}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (tmp_path / "panoptic.json").write_text(json.dumps(content))
    (tmp_path / "classes.txt").write_text("2: car, automobile\n1: road:stuff\n")
    yield tmp_path
    for name in ("streets_val", "kitchen_val"):
        for catalog in (DatasetCatalog, MetadataCatalog):
            catalog.pop(name, None)


def write(folder, *entries, name="own.yaml"):
    path = folder / name
    path.write_text(yaml.safe_dump(list(entries) if len(entries) > 1 else entries[0]))
    return path


def test_folders_of_images_and_masks_are_a_dataset(folder, monkeypatch):
    path = write(folder, STREETS)
    monkeypatch.chdir("/")
    assert register_dataset_file(path) == ("streets_val",)
    assert register_dataset_file(path) == ("streets_val",)  # harmless
    register_splits(root=folder)
    row, meta = registered_split("streets_val"), MetadataCatalog.get("streets_val")
    assert row.tasks == ("semantic",)
    assert (row.benchmark, row.split, row.evaluator) == ("streets_val", "val", "sem_seg")
    assert meta.vocabulary.synonyms == (("road",), ("car", "automobile"), ("sky",))
    assert meta.vocabulary.thing_mask == [False, True, False]
    first, second = DatasetCatalog.get("streets_val")
    assert second["file_name"] == str(folder / "pictures" / "b.png")
    assert first["sem_seg_file_name"] == str(folder / "masks" / "a.png")
    assert verify(row, folder, progress=False).findings == []


def test_a_panoptic_file_brings_its_own_classes_with_their_ids(folder):
    register_dataset_file(write(folder, KITCHEN))
    meta = MetadataCatalog.get("kitchen_val")
    assert meta.vocabulary.names == ("wall", "cup")
    assert meta.stuff_dataset_id_to_contiguous_id == {3: 0, 5: 1}
    records = DatasetCatalog.get("kitchen_val")
    assert [record["segments_info"][0]["category_id"] for record in records] == [1, 1]
    assert records[0]["segments_info"][0]["isthing"]
    assert registered_split("kitchen_val").tasks == ("panoptic", "instance", "semantic")


def test_coco_instances_are_a_dataset(folder):
    entry = {"name": "kitchen_val", "images": "pictures", "instance_json": "instances.json"}
    content = json.loads((folder / "panoptic.json").read_text())
    square = {"bbox": [0, 0, 2, 2], "area": 4, "segmentation": [[0, 0, 2, 0, 2, 2, 0, 2]]}
    content["annotations"] = [{"id": 1, "image_id": 1, "category_id": 5, **square}]
    (folder / "instances.json").write_text(json.dumps(content))
    register_dataset_file(write(folder, entry))
    row = registered_split("kitchen_val")
    assert (row.tasks, row.kind, row.evaluator) == (("instance",), "instances", "coco")
    records = DatasetCatalog.get("kitchen_val")
    assert [len(record["annotations"]) for record in records] == [0, 1]
    assert records[1]["annotations"][0]["category_id"] == 1
    assert verify(row, folder, progress=False).findings == []


def test_one_file_has_several_datasets_and_verify_takes_it(folder):
    path = write(folder, STREETS, KITCHEN)
    rows = rows_named([str(path)], folder / "elsewhere")
    assert [row.name for row in rows] == ["streets_val", "kitchen_val"]
    for row in rows:
        assert verify(row, folder / "elsewhere", progress=False).errors == 0
    (folder / "masks" / "a.png").unlink()
    report = verify(rows[0], folder / "elsewhere", progress=False)
    assert report.findings[0].problem == "an image has no mask"


def test_all_keys_are_taken(folder):
    entry = {
        **KITCHEN,
        "benchmark": "kitchen",
        "split": "test",
        "tasks": ["panoptic"],
        "classes": "wall:stuff; cup",
        "category_ids": [3, 5],
        "semantic_masks": "masks",
        "mask_values": "index",
        "exif": "ignore",
        "ignore_label": 7,
        "image_suffix": ".jpg",
        "semantic_suffix": "_labels.png",
        "test_size": [640, 1000],
        "object_mask_threshold": 0.4,
        "prepare": "python make_kitchen.py",
    }
    elsewhere = {"instance_json", "image_list", "ignore_colors"}
    assert set(entry) | elsewhere == set(KEYS)
    [row] = read_dataset_file(write(folder, entry))
    assert (row.benchmark, row.split, row.tasks) == ("kitchen", "test", ("panoptic",))
    assert (row.test_size, row.object_mask_threshold) == ((640, 1000), 0.4)
    assert (row.ignore_label, row.image_suffix) == (7, ".jpg")
    assert row.semantic_file({"file_name": "a.png"}) == "a_labels.png"
    assert row.origin.remedy == "run python make_kitchen.py"
    assert row.category_ids == (3, 5)
    assert len(row_vocabulary(row)) == 2


def test_masks_may_hold_the_ids_of_the_class_list(folder):
    entry = {**STREETS, "classes": "classes.txt", "mask_values": "id"}
    register_dataset_file(write(folder, {**entry, "ignore_label": 0}))
    labels = np.array([[0, 1, 2, 2]] * 2, np.uint8)
    Image.fromarray(labels).save(folder / "masks" / "a.png")
    record = DatasetCatalog.get("streets_val")[0]
    np.testing.assert_array_equal(read_semantic_labels(record, 0)[0], [-1, 0, 1, 1])
    [row] = read_dataset_file(folder / "own.yaml")
    [found] = verify(row, folder, progress=False).findings  # b.png still has a 255
    assert "out of range (1..2, 0 ignored)" in found.problem
    assert "mask_values" in found.problem
    assert found.where == [f"{folder / 'masks' / 'b.png'}: label 255"]


COLORED = {**STREETS, "mask_values": "color", "classes": "colors.json"}
ROAD, CAR, SKY = (128, 64, 128), (220, 20, 60), (0, 0, 255)


def write_colors(folder, *colors):
    names = ("road", "car, automobile", "sky")
    rows = [{"name": n, "color": list(c)} for n, c in zip(names, colors, strict=False)]
    (folder / "colors.json").write_text(json.dumps(rows))


@pytest.mark.parametrize("palette", [False, True])
def test_masks_may_be_coloured_pictures(folder, palette):
    write_colors(folder, ROAD, CAR, SKY)
    for name in ("a", "b"):
        picture = Image.fromarray(np.array([[ROAD, SKY, CAR, (0, 0, 0)]] * 2, np.uint8))
        (picture.quantize(8) if palette else picture).save(folder / "masks" / f"{name}.png")
    register_dataset_file(write(folder, {**COLORED, "ignore_colors": ["#000000"]}))
    record = DatasetCatalog.get("streets_val")[0]
    np.testing.assert_array_equal(read_semantic_labels(record, 255), [[0, 2, 1, -1]] * 2)
    [row] = read_dataset_file(folder / "own.yaml")
    assert verify(row, folder, progress=False).findings == []
    [row] = read_dataset_file(write(folder, COLORED))
    [finding] = verify(row, folder, progress=False).findings
    assert finding.problem == "a mask has a colour of no class"
    assert finding.where[0] == f"{folder / 'masks' / 'a.png'}: #000000 (2 pixels)"
    record["label_colors"] = row.label_colors
    with pytest.raises(ValueError, match=r"a\.png: 2 pixels have a colour of no class.*#000000"):
        read_semantic_labels(record, 255)


def test_a_coloured_jpeg_is_no_mask(folder):
    write_colors(folder, ROAD, CAR, SKY)
    Image.new("RGB", (4, 2), ROAD).save(folder / "masks" / "a.png", format="JPEG")
    register_dataset_file(write(folder, COLORED))
    with pytest.raises(ValueError, match=r"a\.png: .*a JPEG, which changes labels"):
        read_semantic_labels(DatasetCatalog.get("streets_val")[0], 255)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"classes": "classes.txt"},
            "class 'road' has no colour: `classes` must be a .tsv",
        ),
        ({"classes": ["road", "car"]}, "mask_values: color needs `classes`, a .tsv or .json file"),
        ({"classes": "none.json"}, "none.json: no such file"),
        ({"ignore_label": 0}, "masks of colours have ignore_colors, not ignore_label"),
        ({"ignore_colors": ["black"]}, "ignore_colors: colour 'black' is neither"),
        ({"ignore_colors": [[0, 0, 255]]}, "'sky' and 'ignored' have one colour"),
        ({"mask_values": "id"}, "the classes have no ids"),
        ({"mask_values": "index", "ignore_colors": ["#000000"]}, "ignore_colors needs mask_values"),
    ],
)
def test_colours_that_say_nothing_are_errors(folder, change, said):
    write_colors(folder, ROAD, CAR, SKY)
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        read_dataset_file(write(folder, {**COLORED, **change}))
    write_colors(folder, ROAD, ROAD, SKY)
    with pytest.raises(ValueError, match="'road' and 'car' have one colour"):
        read_dataset_file(write(folder, COLORED))


def test_a_benchmarks_table_has_colours(folder):
    [row] = read_dataset_file(write(folder, {**COLORED, "classes": "cityscapes"}))
    assert dict(row.label_colors)[128 + 256 * 64 + 65536 * 128] == 0


def test_a_class_file_is_relative_to_the_yaml_file(folder, monkeypatch):
    monkeypatch.chdir("/")
    [row] = read_dataset_file(write(folder, {**STREETS, "classes": "classes.txt"}))
    assert row_vocabulary(row).names == ("road", "car")
    [row] = read_dataset_file(write(folder, {**STREETS, "classes": "cityscapes"}))
    assert len(row_vocabulary(row)) == 19
    [row] = read_dataset_file(write(folder, {**STREETS, "classes": ["cat"]}))
    assert row_vocabulary(row).names == ("cat",)


def without(entry, key):
    return {name: value for name, value in entry.items() if name != key}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**STREETS, "imges": "x"}, "'streets_val': unknown key 'imges'; did you mean 'images'"),
        ({**STREETS, "xyz": "x"}, "unknown key 'xyz'; known: name, benchmark"),
        (without(STREETS, "name"), "dataset 1: lacks name"),
        (without(STREETS, "images"), "lacks images"),
        (without(STREETS, "classes"), "lacks classes"),
        (without(STREETS, "semantic_masks"), "lacks one of panoptic_json, instance_json, semantic"),
        (without(KITCHEN, "panoptic_masks"), "lacks panoptic_masks"),
        ({**KITCHEN, "instance_json": "i.json"}, "panoptic_json and instance_json; make them"),
        ({**STREETS, "images": 3}, r"'streets_val': \$\.images: Expected str, got int"),
        ({**STREETS, "images": ""}, r"\$\.images: Expected str of length >= 1"),
        ({**STREETS, "ignore_label": True}, r"\$\.ignore_label: Expected int, got bool"),
        ({**STREETS, "test_size": [800]}, r"\$\.test_size: Expected array of length 2, got 1"),
        ({**STREETS, "test_size": [800, "x"]}, r"\$\.test_size\[1\]: Expected int, got str"),
        ({**STREETS, "ignore_label": -2}, r"\$\.ignore_label: Expected int >= -1"),
        ({**STREETS, "test_size": [1, 600]}, r"of 32 pixels or more .*, got \[1, 600\]"),
        ({**STREETS, "test_size": [800, 600]}, "must be .shortest edge, longest edge., of"),
        ({**STREETS, "object_mask_threshold": 1.5}, r"object_mask_threshold: Expected float <= 1"),
        ({**STREETS, "object_mask_threshold": float("nan")}, "object_mask_threshold: Expected "),
        ({**STREETS, "tasks": [["semantic"]]}, r"\$\.tasks\[0\]: Expected str, got array"),
        ({**STREETS, "exif": "no"}, "exif must be turn or ignore, got 'no'"),
        ({**STREETS, "mask_values": "names"}, "mask_values must be index or id"),
        ({**STREETS, "mask_values": "id"}, "the classes have no ids"),
        ({**STREETS, "ignore_label": 2}, "ignore_label 2 is the label of class 'sky'"),
        ({**STREETS, "tasks": ["panoptic"]}, "'panoptic', but its files can score semantic"),
        ({**STREETS, "classes": ["cat", False]}, "class 2 is False, not a text: put it in quotes"),
        ({**STREETS, "classes": [{"sky": "stuff"}]}, "class 1 is .*sky:stuff"),
        ({**STREETS, "classes": ["cat", "cat"]}, "classes: class 'cat' is given twice"),
        ({**STREETS, "classes": "cityscape"}, "did you mean 'cityscapes'"),
        ({**KITCHEN, "classes": ["wall", "cup"]}, "the classes have no ids: add category_ids"),
        ({**KITCHEN, "classes": ["wall", "cup"], "category_ids": [3]}, "has 1 category ids"),
        ({**STREETS, "name": "ade20k_panoptic_val"}, "'ade20k_panoptic_val' is taken"),
    ],
)
def test_mistakes_are_named_with_file_dataset_and_key(folder, entry, message):
    path = write(folder, entry)
    with pytest.raises(ValueError, match=message) as error:
        read_dataset_file(path)
    assert str(path) in str(error.value)


def test_files_that_are_no_list_of_datasets(folder):
    for text in ("", "- 3", "name", "[]"):
        (folder / "own.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"own\.yaml: must hold one dataset"):
            read_dataset_file(folder / "own.yaml")
    (folder / "own.yaml").write_text("name: [")
    with pytest.raises(ValueError, match=r"own\.yaml, line 1: not valid YAML"):
        read_dataset_file(folder / "own.yaml")
    (folder / "own.yaml").write_text("name: a\nname: b")
    with pytest.raises(ValueError, match=r"'name' has two values .*\(lines 1 and 2\)"):
        read_dataset_file(folder / "own.yaml")
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml"):
        read_dataset_file(folder / "gone.yaml")
    with pytest.raises(FileNotFoundError, match=r"classes: .*no\.txt"):
        read_dataset_file(write(folder, {**STREETS, "classes": "no.txt"}))


def test_names_may_not_clash(folder, tmp_path_factory):
    path = write(folder, STREETS, STREETS)
    with pytest.raises(ValueError, match="'streets_val' is taken"):
        read_dataset_file(path)
    register_dataset_file(write(folder, STREETS))
    other = tmp_path_factory.mktemp("other")
    with pytest.raises(ValueError, match="'streets_val' is taken by another dataset"):
        register_dataset_file(write(other, STREETS))


def test_a_dataset_file_is_known_by_its_ending():
    assert is_dataset_file("a/own.yaml")
    assert is_dataset_file("own.YML")
    assert not is_dataset_file("ade20k_150")


def test_an_id_that_no_mask_can_hold_is_refused(folder):
    row = {**STREETS, "mask_values": "id", "category_ids": [1, 2, 1 << 63]}
    (folder / "d.yaml").write_text(yaml.safe_dump(row))
    with pytest.raises(ValueError, match=rf"d\.yaml.*the id {1 << 63}, which no mask can hold"):
        read_dataset_file(folder / "d.yaml")
