"""Entries: what a user may write as a class and what is refused, with the place in the message."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from frozenseg.vocab.entries import (
    MAX_NAME_LENGTH,
    Entry,
    check_unshared,
    clean_name,
    entries_from_names,
    entries_from_text,
    entry_from_object,
    entry_from_text,
    sorted_by_id,
    split_names,
)


@given(st.text())
def test_clean_name_is_idempotent(text: str) -> None:
    try:
        name = clean_name(text, "here")
    except ValueError:
        assume(False)
    assert clean_name(name, "here") == name
    assert name == " ".join(name.split())


def test_whitespace_and_unicode_forms_are_normalised() -> None:
    assert clean_name("  traffic\t\n light ", "here") == "traffic light"
    assert clean_name("cafe\u0301", "here") == "caf\u00e9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (7, "must be text, got 7"),
        (None, "must be text, got None"),
        (b"cat", "must be text"),
        ("--", "no letter or digit"),
        ("a\x00b", "control characters"),
        ("a\ud800", "control characters"),
        ("x" * (MAX_NAME_LENGTH + 1), "201 characters"),
    ],
)
def test_bad_names_are_refused(text: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"here: .*{message}"):
        clean_name(text, "here")


def test_longest_name_is_allowed() -> None:
    assert clean_name("x" * MAX_NAME_LENGTH, "here") == "x" * MAX_NAME_LENGTH


@given(st.lists(st.sampled_from(["cat", "dog", "ant", "Cat"]), min_size=1))
def test_split_names_keeps_first_occurrences_in_order(names: list[str]) -> None:
    assert split_names(" , ".join(names), "here") == tuple(sorted(set(names), key=names.index))


@pytest.mark.parametrize("text", ["", "  ", ",", " , ,"])
def test_empty_class_is_refused_in_every_mode(text: str) -> None:
    for published in (False, True):
        with pytest.raises(ValueError, match="here: empty class name"):
            split_names(text, "here", published=published)


def test_superfluous_comma_is_an_error_except_in_published_lists() -> None:
    with pytest.raises(ValueError, match="here: empty name between commas in 'cat,,kitten'"):
        split_names("cat,,kitten", "here")
    assert split_names("cat,,kitten, ", "here", published=True) == ("cat", "kitten")


def test_flags() -> None:
    assert entry_from_text("sky, clouds : Stuff", "here") == Entry(("sky", "clouds"), "here", False)
    assert entry_from_text("person:thing", "here").is_thing is True
    assert entry_from_text("person", "here").is_thing is None
    with pytest.raises(ValueError, match="here: ':stuf' in 'sky:stuf' is neither ':thing'"):
        entry_from_text("sky:stuf", "here")
    with pytest.raises(ValueError, match="here: empty class name"):
        entry_from_text(":stuff", "here")


def test_list_dict_and_text_agree() -> None:
    expected = [("cat", "kitten"), ("dog",)]
    for entries in (
        entries_from_names(["cat, kitten", "dog"]),
        entries_from_names([["cat", "kitten"], ["dog"]]),
        entries_from_names((("cat", "cat", "kitten"), "dog")),
        entries_from_names({"cat": "kitten", "dog": None}),
        entries_from_names({"cat": ["kitten", "cat"], "dog": []}),
        entries_from_text(" cat , kitten ;dog ; "),
        entries_from_text("cat,kitten\ndog\n"),
        entries_from_text("cat,kitten;\n \n dog;\n"),
    ):
        assert [entry.names for entry in entries] == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("cat", "must be a list or a dict, got 'cat'; Vocabulary.parse"),
        (7, "must be a list or a dict"),
        (["cat", 7], "class 2: a class name must be text, got 7"),
        (["cat", ["dog", None]], "class 2: a class name must be text, got None"),
        (["cat", []], "class 2: empty list"),
        ([["cat"], [["dog"]]], "class 2: a class name must be text"),
        ({"cat": 3}, "class 1: synonyms must be a text or a list, got 3"),
        (["cat", " "], "class 2: empty class name"),
    ],
)
def test_bad_lists_name_the_class(names: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        entries_from_names(names)


def test_empty_class_between_semicolons_is_an_error() -> None:
    with pytest.raises(ValueError, match="class 2: empty class name"):
        entries_from_text("cat;;dog")
    with pytest.raises(ValueError, match="class 2: empty class name"):
        entries_from_text("cat;;")
    assert entries_from_text(" ; ") == entries_from_text("") == []


def test_object_reads_every_key_and_refuses_unknown_ones() -> None:
    fields = {"name": "a:b", "synonyms": "c, d", "isthing": 0, "color": "#010203", "id": 4}
    entry = entry_from_object({**fields, "official": "ab"}, "here")
    assert entry == Entry(("a:b", "c", "d"), "here", False, (1, 2, 3), 4, "ab")
    with pytest.raises(ValueError, match="here: unknown key 'synonym'"):
        entry_from_object({"name": "a", "synonym": "b"}, "here")
    assert entry_from_object({"name": "a", "frequency": "r"}, "here", strict=False).names == ("a",)
    with pytest.raises(ValueError, match="here: no 'name'"):
        entry_from_object({"id": 1}, "here")
    with pytest.raises(ValueError, match="here: isthing must be true, false or null, got 'yes'"):
        entry_from_object({"name": "a", "isthing": "yes"}, "here")
    with pytest.raises(ValueError, match="here: id must be an integer, got '1'"):
        entry_from_object({"name": "a", "id": "1"}, "here")


@given(st.permutations(range(6)))
def test_sorted_by_id_is_the_rank_of_the_id(order: list[int]) -> None:
    entries = [Entry((f"class {i}",), f"row {i}", dataset_id=3 * i) for i in order]
    assert [entry.dataset_id for entry in sorted_by_id(entries)] == [0, 3, 6, 9, 12, 15]


def test_ids_must_differ_and_be_complete() -> None:
    cat, dog = Entry(("cat",), "row 1", dataset_id=3), Entry(("dog",), "row 2", dataset_id=3)
    with pytest.raises(ValueError, match=r"row 2: id 3 of 'dog' is taken by 'cat' \(row 1\)"):
        sorted_by_id([cat, dog])
    with pytest.raises(ValueError, match="row 3: no id before 'ant'"):
        sorted_by_id([cat, Entry(("ant",), "row 3")])
    without = [Entry(("b",), "1"), Entry(("a",), "2")]
    assert sorted_by_id(without) == without


def test_shared_names_are_refused_with_both_classes() -> None:
    check_unshared(entries_from_names(["cat, kitten, Cat", "dog"]))
    with pytest.raises(ValueError, match=r"class 'Cat' is given twice \(class 1 and class 3\)"):
        check_unshared(entries_from_names(["cat", "dog", "Cat"]))
    with pytest.raises(ValueError, match=r"'pet' belongs to both 'cat' \(class 1\) and 'dog' \(cl"):
        check_unshared(entries_from_names(["cat, pet", "dog, pet"]))
    with pytest.raises(ValueError, match=r"'cat' belongs to both 'cat' .* and 'tiger'"):
        check_unshared(entries_from_names(["cat", "tiger, cat"]))
