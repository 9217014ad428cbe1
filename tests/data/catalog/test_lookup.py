"""The rows of the catalog are complete, consistent and name what detectron2's users know."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from frozenseg.cli.main import parser_of
from frozenseg.data.catalog.lookup import (
    DATASET_SPLITS,
    class_of_category,
    datasets_root,
    find_split,
    load_vocabulary,
    row_vocabulary,
    splits_of,
)
from frozenseg.data.catalog.mess_rows import MESS_ROWS
from frozenseg.data.catalog.split import PREPARE

ROOT = Path(__file__).resolve().parents[3]
CLASSES = {
    "coco_panoptic": 133,
    "coco_stuff_171": 171,
    "lvis": 1203,
    "ade20k_150": 150,
    "ade20k_847": 847,
    "cityscapes": 19,
    "mapillary_vistas": 65,
    "pascal_context_59": 59,
    "pascal_context_459": 459,
    "pascal_voc_20": 20,
    "pascal_voc_21": 21,
    "bdd100k_19": 19,
    "bdd100k_40": 40,
}
# Images of the official validation splits, from the datasets' own pages.
VAL_IMAGES = {
    "coco_panoptic": (5000,),
    "coco_stuff_171": (5000,),
    "lvis": (19809,),
    "ade20k_150": (2000,),
    "ade20k_847": (2000,),
    "cityscapes": (500,),
    "mapillary_vistas": (2000,),
    "pascal_context_59": (5104, 5105),
    "pascal_context_459": (5104, 5105),
    "pascal_voc_20": (1449,),
    "pascal_voc_21": (1449,),
    "bdd100k_19": (1000,),
    "bdd100k_40": (1000,),
}
SYNTHETIC = {"miniature", "miniature_novel"}
MESS = {row.benchmark for row in MESS_ROWS}


def by_name(row):
    return row.name


def test_names_and_aliases_are_unique():
    names = [name for row in DATASET_SPLITS for name in row.names]
    assert len(set(names)) == len(names)


def test_every_benchmark_has_a_row_for_training_where_it_has_a_split_and_one_for_validation():
    others = {row.benchmark for row in DATASET_SPLITS if row.kind != "episodes"}
    assert others == set(CLASSES) | SYNTHETIC | MESS
    for benchmark in CLASSES:
        assert splits_of(benchmark, split="val")
    assert splits_of("coco_panoptic", split="train")
    assert splits_of("nothing") == ()


@pytest.mark.parametrize("row", DATASET_SPLITS, ids=by_name)
def test_every_row_is_consistent(row):
    assert set(row.tasks) <= {"panoptic", "instance", "semantic"} or row.tasks == ("episodes",)
    assert row.origin.readme_section
    paths = [path for _, path in row.paths()]
    assert row.images in paths
    assert not any(Path(path).is_absolute() or ".." in Path(path).parts for path in paths)
    kind_of_task = {
        "panoptic": "panoptic_json",
        "instance": "instance_",
        "semantic": "semantic_",
        "episodes": "episodes_json",
    }
    fields = [what for what, path in row.paths() if path]
    if not row.panoptic_json:
        [task] = row.tasks
        assert any(field.startswith(kind_of_task[task]) for field in fields)
    if row.benchmark not in SYNTHETIC | MESS and row.kind != "episodes":
        assert row.classes == CLASSES[row.benchmark]
        assert row.split != "val" or row.image_counts == VAL_IMAGES[row.benchmark]
    street = row.benchmark in ("cityscapes", "mapillary_vistas")
    own_size = (0, 0) if row.kind == "episodes" else None
    assert row.test_size == ((1024, 2560) if street else own_size)
    assert row.object_mask_threshold == (0.4 if row.benchmark == "bdd100k_40" else None)


@pytest.mark.parametrize("row", [r for r in DATASET_SPLITS if not r.vocabulary_file], ids=by_name)
def test_every_table_has_the_classes_of_its_row(row):
    vocabulary = row_vocabulary(row)
    classes = class_of_category(row, vocabulary)
    assert sorted(classes.values()) == list(range(len(vocabulary)))
    assert len(vocabulary) == CLASSES.get(row.benchmark, row.classes or len(vocabulary))


@pytest.mark.slow
def test_every_command_exists_and_every_made_file_has_one():
    for row in DATASET_SPLITS:
        origin = row.origin
        if origin.command:
            assert origin.command.startswith(f"{PREPARE} ")
            words = origin.command.split()[3:]
            parser_of("data prepare").parse_args(["x.txt" if w == "FILE" else w for w in words])
        else:
            assert not origin.images_made
            assert origin.remedy == f"see datasets/README.md, section {origin.readme_section}"


def test_every_section_of_the_readme_exists():
    lines = (ROOT / "datasets" / "README.md").read_text(encoding="utf-8").splitlines()
    assert {f"## {row.origin.readme_section}" for row in DATASET_SPLITS} <= set(lines)


def test_the_names_of_the_released_configs_exist(shared_dir):
    text = (shared_dir / "released_config_keys.txt").read_text()
    lines = [line for line in text.splitlines() if line.startswith("DATASETS.")]
    names = set(re.findall(r'"([^"]+)"', " ".join(lines)))
    assert len(names) >= 14
    for name in names:
        assert name in find_split(name).names


def test_coco_ids_and_things_are_those_of_detectron2():
    from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

    row = find_split("openvocab_coco_2017_val_panoptic_with_sem_seg")
    vocabulary = load_vocabulary(row.vocabulary)
    assert list(class_of_category(row, vocabulary)) == [c["id"] for c in COCO_CATEGORIES]
    assert vocabulary.thing_mask == [bool(c["isthing"]) for c in COCO_CATEGORIES]


def test_an_alias_finds_its_row_and_an_unknown_name_gets_a_suggestion():
    assert find_split("ade20k_panoptic_val").name == "openvocab_ade20k_panoptic_val"
    with pytest.raises(ValueError, match="openvocab_ade20k_panoptic_val"):
        find_split("openvocab_ade20k_panoptic_vall")


def test_class_names_that_lie_in_the_dataset_are_read_from_there(tmp_path):
    row = replace(find_split("openvocab_pascal_ctx459_sem_seg_val"), classes=3)
    with pytest.raises(FileNotFoundError, match=r"labels\.txt.*data prepare pascal_context"):
        row_vocabulary(row, tmp_path)
    path = tmp_path / row.vocabulary
    path.parent.mkdir(parents=True)
    path.write_text("2: bag, sack\n1: accordion\n")
    with pytest.raises(ValueError, match=r"has 2 classes, but .* has 3"):
        row_vocabulary(row, tmp_path)
    path.write_text("2: bag, sack\n1: accordion\n3: sack\n")  # published lists share names
    vocabulary = row_vocabulary(row, tmp_path)
    assert vocabulary.names == ("accordion", "bag", "sack")
    assert class_of_category(row, vocabulary) == {1: 0, 2: 1, 3: 2}


def test_a_class_file_lies_in_the_root_not_in_the_working_directory(monkeypatch, tmp_path):
    for folder, words in (("root", "cat\ndog"), ("other", "sun"), ("here", "moon\nrain\nsea")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "words.txt").write_text(words)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "root"))
    assert load_vocabulary("words.txt").names == ("cat", "dog")
    assert load_vocabulary("words.txt", tmp_path / "other").names == ("sun",)
    assert load_vocabulary(str(tmp_path / "other" / "words.txt")).names == ("sun",)


def test_the_root_is_the_environment_variable_or_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert datasets_root() == tmp_path
    monkeypatch.delenv("DETECTRON2_DATASETS")
    monkeypatch.chdir(tmp_path)
    assert datasets_root().is_absolute()
    assert tmp_path not in datasets_root().parents


def test_without_variable_and_checkout_the_error_names_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.setattr("frozenseg.files.PACKAGE", tmp_path / "site-packages" / "frozenseg")
    with pytest.raises(ValueError, match="DETECTRON2_DATASETS"):
        datasets_root()
