"""Class lists on disk: formats, order by id, placeholders, and errors that name file and line."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from frozenseg.vocab.class_lists import read_annotation_entries, read_entries
from frozenseg.vocab.entries import Entry


def read(folder: Path, name: str, text: str, *, published: bool = False) -> list[Entry]:
    path = folder / name
    path.write_bytes(text.encode())
    return read_entries(path, published=published)


def names(entries: list[Entry]) -> list[tuple[str, ...]]:
    return [entry.names for entry in entries]


def test_text_lines(tmp_path: Path) -> None:
    text = "\ufeff# my words\r\ncat, kitten\r\n\r\n  dog\r\nsky:stuff\r\n"
    entries = read(tmp_path, "words.txt", text)
    assert names(entries) == [("cat", "kitten"), ("dog",), ("sky",)]
    assert [entry.is_thing for entry in entries] == [None, None, False]
    assert entries[1].where == f"{tmp_path / 'words.txt'}:4"


def test_text_ids_give_the_order(tmp_path: Path) -> None:
    entries = read(tmp_path, "words.txt", "7: dog\n3:cat, kitten:thing\n12 : sky\n")
    assert [(e.dataset_id, e.names[0]) for e in entries] == [(3, "cat"), (7, "dog"), (12, "sky")]
    assert entries[0].is_thing is True


def test_placeholder_rows_are_skipped_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        entries = read(tmp_path, "words.txt", "0:invalid_class_id\n1:wall\n2:sky\n")
    assert names(entries) == [("wall",), ("sky",)]
    assert "words.txt: skipped 1 placeholder row" in caplog.text
    with pytest.raises(ValueError, match="no class in the file"):
        read(tmp_path, "words.txt", "0:invalid_class_id\n")


def test_tsv_with_and_without_header(tmp_path: Path) -> None:
    text = "Idx\tRatio\tStuff\tName\tcolor\n2\t0.1\t1\tsky\t#0000ff\n1\t0.2\t0\tdoor, gate\t\n"
    entries = read(tmp_path, "words.tsv", text)
    assert [(e.dataset_id, e.names, e.is_thing, e.color) for e in entries] == [
        (1, ("door", "gate"), True, None),
        (2, ("sky",), False, (0, 0, 255)),
    ]
    assert names(read(tmp_path, "info.txt", text)) == names(entries)  # ADE20K's objectInfo150.txt
    header = "name\tsynonyms\tisthing\ncat\tkitten, puss\tthing\ndog\n"
    entries = read(tmp_path, "words.tsv", header)
    assert names(entries) == [("cat", "kitten", "puss"), ("dog",)]
    assert [entry.is_thing for entry in entries] == [True, None]
    assert names(read(tmp_path, "words.tsv", "cat\tkitten\tpuss\nsky:stuff\n")) == [
        ("cat", "kitten", "puss"),
        ("sky",),
    ]


@pytest.mark.parametrize(
    "value",
    [
        ["cat, kitten", "dog"],
        [["cat", "kitten"], {"name": "dog"}],
        {"cat": ["kitten"], "dog": None},
        {"cat": "kitten", "dog": []},
        {"name": "mine", "classes": [{"name": "cat", "synonyms": ["kitten"]}, "dog"]},
    ],
)
def test_json_forms(tmp_path: Path, value: object) -> None:
    assert names(read(tmp_path, "words.json", json.dumps(value))) == [("cat", "kitten"), ("dog",)]


def test_json_lists_keep_their_order_whatever_the_ids(tmp_path: Path) -> None:
    value = [{"name": "b", "id": 9}, {"name": "a", "id": 2}]
    assert names(read(tmp_path, "words.json", json.dumps(value))) == [("b",), ("a",)]


def test_annotation_categories_are_sorted_and_made_readable(tmp_path: Path) -> None:
    mouse = {
        "id": 2,
        "name": "mouse_(computer_equipment)",
        "synonyms": ["mouse_(computer_equipment)", "computer_mouse"],
        "frequency": "f",
        "synset": "mouse.n.04",
    }
    value = {"images": [], "categories": [mouse, {"id": 1, "name": "sky", "isthing": 0}]}
    path = tmp_path / "lvis.json"
    path.write_text(json.dumps(value))
    entries = read_annotation_entries(path)
    assert names(entries) == [("sky",), ("mouse (computer equipment)", "computer mouse")]
    assert entries[1].official == "mouse_(computer_equipment)"
    assert entries[1].dataset_id == 2
    assert entries[0].is_thing is False
    assert names(read_entries(path)) == names(entries)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "", "a.txt: the file is empty"),
        ("a.txt", " \n\n", "a.txt: the file is empty"),
        ("a.txt", "# only\n", "a.txt: no class in the file"),
        ("a.txt", "cat\n\n,\n", "a.txt:3: empty class name"),
        ("a.txt", "cat\nsky:stuf\n", "a.txt:2: ':stuf' in 'sky:stuf' is neither"),
        ("a.txt", "1:cat\ndog\n", "a.txt:2: no id before 'dog'"),
        ("a.txt", "1:cat\n1:dog\n", r"a.txt:2: id 1 of 'dog' is taken by 'cat' \(.*a.txt:1\)"),
        ("a.tsv", "id\tname\nx\tcat\n", "a.tsv:2: id must be an integer, got 'x'"),
        ("a.tsv", "id\tname\n1\t\n", "a.tsv:2: empty class name"),
        ("a.tsv", "name\tisthing\ncat\tmaybe\n", "a.tsv:2: 'maybe' is none of"),
        ("a.tsv", "name\ncat\tkitten\n", "a.tsv:2: 2 cells under a header of 1"),
        ("a.tsv", "name\n", "a.tsv: no class in the file"),
        ("a.json", "[1", "a.json:1: not valid JSON"),
        ("a.json", '["cat",\n "dog"', "a.json:2: not valid JSON"),
        ("a.json", "[]", "a.json: no class in the file"),
        ("a.json", "3", "a.json: expected a JSON list or object, got 3"),
        ("a.json", '["cat", 3]', "a.json: class 2: a class name must be text"),
        ("a.json", '{"cat": null, "cat": "x"}', "a.json: 'cat' is given twice"),
        ("a.json", '[{"name": "a", "id": 1}, {"name": "b", "id": 1}]', "id 1 of 'b' is taken by"),
        ("a.json", '{"categories": ["cat"]}', "a.json: category 1: expected an object"),
        ("a.csv", "cat", "a.csv: unknown extension '.csv'; use .txt, .tsv or .json"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, name, text)


def test_missing_unreadable_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.txt: no such file"):
        read_entries(tmp_path / "none.txt")
    folder = tmp_path / "folder.txt"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"folder.txt: cannot be read \(Is a directory\)"):
        read_entries(folder)
    (tmp_path / "latin.txt").write_bytes("cat\ncaf\xe9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin.txt:2: not UTF-8"):
        read_entries(tmp_path / "latin.txt")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_forbidden_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.txt"
    path.write_text("cat\n")
    path.chmod(0)
    with pytest.raises(ValueError, match=r"secret.txt: cannot be read \(Permission denied\)"):
        read_entries(path)


@pytest.mark.parametrize("text", ["[]", "{}", '{"categories": []}', '{"categories": 1}'])
def test_annotation_file_without_categories(tmp_path: Path, text: str) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"annotations.json: no 'categories' list"):
        read_annotation_entries(path)
