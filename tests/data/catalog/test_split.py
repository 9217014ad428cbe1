"""What follows from the fields of a row."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frozenseg.data.catalog.split import DatasetSplit, Origin, city_path


def row(**fields) -> DatasetSplit:
    common = {"name": "x", "benchmark": "x", "split": "val", "tasks": (), "vocabulary": "a;"}
    return DatasetSplit(**{**common, "images": "i", **fields})


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"semantic_masks": "m"}, "semantic"),
        ({"panoptic_json": "p.json", "semantic_masks": "m", "instance_json": "i"}, "panoptic"),
        ({"instance_json": "i.json"}, "instances"),
        ({"instance_json": "i.json", "evaluator": "lvis"}, "lvis"),
        ({"instance_masks": "m"}, "instance maps"),
        ({"semantic_masks": "m", "episodes_json": "e.json"}, "episodes"),
    ],
)
def test_the_files_tell_the_kind_of_ground_truth(fields, kind):
    assert row(**fields).kind == kind


def test_needed_paths_are_those_that_the_records_use():
    both = row(
        panoptic_json="p.json", panoptic_masks="p", instance_json="i.json", vocabulary="c.txt"
    )
    assert dict(both.paths()) == {
        "images": "i",
        "panoptic_json": "p.json",
        "panoptic_masks": "p",
        "class list": "c.txt",
    }
    assert dict(row(instance_json="i.json").paths()) == {"images": "i", "instance_json": "i.json"}


def test_images_are_asked_for_all_their_classes_in_training_and_in_mosaics():
    assert row(split="fold0_train").asks_per_image
    assert row(split="test", asked_together=True).asks_per_image
    assert not row(split="fold0_seen_val").asks_per_image


def test_only_a_file_name_counts_as_a_class_file():
    for text, expected in (
        ("a.txt", "a.txt"),
        ("x/c.tsv", "x/c.tsv"),
        ("ade20k_150", ""),
        ("a.txt;b", ""),
    ):
        assert row(vocabulary=text).vocabulary_file == expected


def test_remedies_fit_what_is_there():
    made = Origin("frozenseg data prepare x", "--overwrite", readme_section="X")
    run, read = "run frozenseg data prepare x", "see datasets/README.md, section X"
    assert (made.remedy, made.completion, made.repair) == (run, run, f"{run} --overwrite")
    assert made.download == read
    whole = replace(made, redo_flag="", made_folder="x", images_made=True)
    again = f"delete x/ and {run}"
    assert (whole.remedy, whole.completion, whole.repair, whole.download) == (run, *[again] * 3)
    own = Origin("python make_x.py")
    run = "run python make_x.py"
    assert (own.remedy, own.completion, own.repair) == (run, run, f"replace them: {run}")
    published = Origin(readme_section="X")
    assert (published.remedy, published.repair) == (read, f"replace them: {read}")
    assert Origin().remedy == Origin().download == "replace or repair it"


def test_images_of_cities_lie_in_their_folders():
    assert city_path("aachen_000000_000019") == "aachen/aachen_000000_000019"
