"""The class list of ADE20K-Full: three kinds of files, nothing run, every mistake named."""

from __future__ import annotations

import json

import pytest

from frozenseg.data.preparation.ade20k_classes import FullClass, class_list_text, read_classes

EXPECTED = [FullClass(2978, "wall"), FullClass(312, "building, edifice")]
TSV = "id\ttrainId\tname\tflag\n312\t1\tbuilding, edifice\t0\n2978\t0\twall\t1\n"
ROWS = [
    {"name": "building, edifice", "id": 312, "trainId": 1},
    {"name": "wall", "id": 2978, "trainId": 0},
]
SOURCE = f"""raise SystemExit("this must not run")
import os
OTHER = [1, 2]
COMPUTED = [os.getcwd()]
ADE20K_SEM_SEG_FULL_CATEGORIES = {ROWS!r}
"""


@pytest.mark.parametrize(
    ("name", "text"), [("a.tsv", TSV), ("a.json", json.dumps(ROWS)), ("a.py", SOURCE)]
)
def test_every_kind_is_read_in_the_order_of_the_training_ids(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text)
    assert read_classes(path) == EXPECTED


def test_the_written_list_counts_from_zero():
    assert class_list_text(EXPECTED) == "id\tname\n0\twall\n1\tbuilding, edifice\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.pkl", "x", r"a\.pkl: unknown kind of list '\.pkl'.*register_ade20k_full\.py"),
        ("a.tsv", "", "trainId of 0 classes"),
        ("a.tsv", "id\tname\n1\twall\n", "class 1 is .* but needs id, trainId and name"),
        ("a.tsv", "id\ttrainId\tname\nx\t0\twall\n", "class 1 is"),
        ("a.tsv", "id\ttrainId\tname\n7\t0\t \n", "class 1 has id 7 and name ''"),
        ("a.tsv", "id\ttrainId\tname\n9999\t0\twall\n", "class 1 has id 9999"),
        ("a.tsv", "id\ttrainId\tname\n7\t1\twall\n", "trainId of 1 classes are not 0, 1"),
        ("a.tsv", "id\ttrainId\tname\n7\t0\ta\n8\t0\tb\n", "trainId 0 is given twice"),
        ("a.tsv", "id\ttrainId\tname\n7\t0\ta\n7\t1\tb\n", "an id is given twice"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "{}", "holds no list"),
        ("a.py", "def", "not Python source"),
        ("a.py", "x = [1]", "assigns no list of classes"),
    ],
)
def test_mistakes_are_named(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_classes(path)


def test_a_missing_list_says_where_one_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="ADE20K_SEM_SEG_FULL_CATEGORIES"):
        read_classes(tmp_path / "a.tsv")
