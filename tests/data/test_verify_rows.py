"""Every row, from the files as they are published: `verify` names a command, which repairs.

The published files are those of raw_datasets.py; the command is run word for word.
"""

from __future__ import annotations

import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from frozenseg.data.catalog.lookup import DATASET_SPLITS, find_split
from frozenseg.data.catalog.register import register_splits
from frozenseg.data.catalog.split import PREPARE
from frozenseg.data.preparation import fss_mosaic
from frozenseg.data.verify.run import verify
from tests.data import raw_datasets

MAKERS = {
    "COCO": ("make_coco",),
    "COCO-Stuff": ("make_coco", "make_coco_stuff"),
    "LVIS": ("make_lvis",),
    "ADE20K": ("make_ade20k",),
    "ADE20K-Full": ("make_ade20k_full",),
    "Cityscapes": ("make_cityscapes",),
    "Mapillary Vistas": ("make_mapillary",),
    "Pascal Context": ("make_pascal_context",),
    "Pascal VOC": ("make_pascal_voc",),
    "BDD100K": ("make_bdd100k",),
    "MESS": ("make_mess",),
    "PASCAL-5i": ("make_pascal_5i",),
    "COCO-20i": ("make_coco_20i",),
    "Mosaic-4": ("make_fss",),
}
ROWS = [row for row in DATASET_SPLITS if row.origin.readme_section in MAKERS]


@pytest.fixture(autouse=True)
def small_mosaics(monkeypatch):
    """Mosaics of 40 x 40 pixels."""
    monkeypatch.setattr(fss_mosaic, "TILE", 20)


def source_split(row):
    """The published split that a row is made from; folds have "fold0_train" and the like."""
    if row.kind != "episodes":
        return row.split
    return "train" if row.split.endswith("train") else "val"


def run(command, root):
    """Runs a row's command, whose FILE is the class list that raw_datasets wrote."""
    program, data, prepare, name, *words = command.split()
    assert (program, data, prepare) == ("frozenseg", "data", "prepare")
    classes = str(root / "ade20k_full_classes.tsv")
    words = [classes if word == "FILE" else word for word in words]
    assert raw_datasets.run_prepare(name, root, *words) == 0


def check(row, root):
    return verify(row, root, subset=True, progress=False)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_command_that_verify_names_makes_what_detectron2_loads(row, tmp_path):
    for maker in MAKERS[row.origin.readme_section]:
        getattr(raw_datasets, maker)(tmp_path, source_split(row))
        if row.origin.readme_section == "LVIS":  # its class names are read from the validation file
            raw_datasets.make_lvis(tmp_path, "val")
    command = row.origin.command
    if command:
        before = check(row, tmp_path)
        assert before.errors
        assert {f.remedy for f in before.findings if f.level == "error"} == {f"run {command}"}
        run(command, tmp_path)
    report = check(row, tmp_path)
    assert report.findings == [], report.text()
    register_splits([row], root=tmp_path)
    records = DatasetCatalog.get(row.name)
    assert report.images == report.checked > 1
    assert len(records) == report.images or (row.kind == "episodes" and records)
    assert len(MetadataCatalog.get(row.name).vocabulary) == row.classes


SCORED = ("val", "fold0_val", "test")
PREPARED = [row for row in ROWS if row.origin.redo_flag and row.split in SCORED]


@pytest.mark.slow
@pytest.mark.parametrize("row", PREPARED, ids=lambda row: row.name)
@pytest.mark.parametrize("damage", ["cut", "size"])
def test_the_command_that_verify_names_repairs_a_damaged_file(row, damage, tmp_path):
    for maker in MAKERS[row.origin.readme_section]:
        getattr(raw_datasets, maker)(tmp_path)
    run(row.origin.command, tmp_path)
    masks = tmp_path / (row.panoptic_masks or row.semantic_masks or row.instance_json)
    path = masks
    if masks.is_dir():
        suffix = ".png" if row.panoptic_masks else row.semantic_suffix
        path = sorted(masks.rglob(f"*{suffix}"))[0]
    if damage == "cut" or path == masks:
        path.write_bytes(path.read_bytes()[:50])
    else:
        with Image.open(path) as image:
            image.crop((0, 0, 9, 9)).save(path)
    [*errors] = [f for f in check(row, tmp_path).findings if f.level == "error"]
    assert {str(path) in finding.where[0] for finding in errors} == {True}
    for order in {finding.remedy for finding in errors}:
        if order.startswith("delete it, then "):
            path.unlink(missing_ok=True)
        run(order[order.index(PREPARE) :], tmp_path)
    assert check(row, tmp_path).findings == []


def test_lvis_needs_the_images_of_both_splits_of_coco(tmp_path):
    raw_datasets.make_lvis(tmp_path)
    row = find_split("lvis_v1_val")
    shutil.rmtree(tmp_path / "coco/train2017")
    [finding] = check(row, tmp_path).findings
    assert "LVIS uses images of both train2017 and val2017" in finding.problem
    assert finding.remedy == "see datasets/README.md, section LVIS"
