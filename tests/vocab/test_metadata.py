"""Vocabularies of registered datasets, from metadata in the shapes that are in use."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from frozenseg.vocab.vocabulary import Vocabulary


def test_vocabulary_attribute_wins() -> None:
    vocabulary = Vocabulary.from_names(["cat"])
    meta = SimpleNamespace(vocabulary=vocabulary, thing_classes=["dog"])
    assert Vocabulary.from_metadata(meta) is vocabulary
    with pytest.raises(ValueError, match="metadata: vocabulary must be a Vocabulary, got 'cat'"):
        Vocabulary.from_metadata({"vocabulary": "cat"})


def test_instance_metadata_is_all_things() -> None:
    meta = SimpleNamespace(
        name="toy_val",
        thing_classes=["cat", "dog"],
        thing_colors=[(1, 2, 3), (4, 5, 6)],
        thing_dataset_id_to_contiguous_id={18: 1, 17: 0},
    )
    vocabulary = Vocabulary.from_metadata(meta)
    assert vocabulary.thing_mask == [True, True]
    assert vocabulary.colors == [(1, 2, 3), (4, 5, 6)]
    assert vocabulary.dataset_ids == [17, 18]


def test_semantic_metadata_is_all_stuff_and_splits_synonyms() -> None:
    vocabulary = Vocabulary.from_metadata({"stuff_classes": ["road, route", "window ", "a:b,"]})
    assert vocabulary.synonyms == (("road", "route"), ("window",), ("a:b",))
    assert vocabulary.thing_mask == [False] * 3


def test_standard_panoptic_metadata() -> None:
    meta = {
        "thing_classes": ["cat", "dog"],
        "stuff_classes": ["sky", "cat", "wall", "dog"],
        "thing_dataset_id_to_contiguous_id": {17: 1, 18: 3},
        "stuff_dataset_id_to_contiguous_id": {5: 0, 17: 1, 9: 2, 18: 3},
    }
    vocabulary = Vocabulary.from_metadata(meta)
    assert vocabulary.names == ("sky", "cat", "wall", "dog")
    assert vocabulary.thing_mask == [False, True, False, True]
    assert vocabulary.dataset_ids == [5, 17, 9, 18]
    del meta["thing_dataset_id_to_contiguous_id"]
    assert Vocabulary.from_metadata(meta).thing_mask == [False, True, False, True]


def test_both_lists_complete_as_in_coco_panoptic() -> None:
    names = ["cat", "sky"]
    meta: dict[str, object] = {"thing_classes": names, "stuff_classes": names}
    assert [item.is_thing for item in Vocabulary.from_metadata(meta).classes] == [None, None]
    meta["thing_dataset_id_to_contiguous_id"] = {1: 0}
    assert Vocabulary.from_metadata(meta).thing_mask == [True, False]


def test_separated_panoptic_metadata_puts_things_first() -> None:
    meta = {
        "thing_classes": ["cat"],
        "stuff_classes": ["things", "sky", "wall"],
        "thing_dataset_id_to_contiguous_id": {17: 0},
        "stuff_dataset_id_to_contiguous_id": {0: 0, 92: 1, 93: 2},
    }
    vocabulary = Vocabulary.from_metadata(meta)
    assert vocabulary.names == ("cat", "sky", "wall")
    assert vocabulary.thing_mask == [True, False, False]
    assert vocabulary.dataset_ids == [17, None, None]


def test_published_metadata_may_share_names() -> None:
    vocabulary = Vocabulary.from_metadata({"stuff_classes": ["screen door,screen", "blind,screen"]})
    assert len(vocabulary) == 2


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"name": "toy"}, "metadata of toy: neither vocabulary nor thing_classes nor stuff"),
        ({"thing_classes": [], "stuff_classes": []}, "metadata of the dataset: neither"),
        ({"thing_classes": ["a", "b"], "stuff_classes": ["b", "c"]}, "share 'b' but neither"),
        ({"name": "toy", "stuff_classes": ["a", ","]}, "metadata of toy: class 1: empty class"),
    ],
)
def test_unusable_metadata(meta: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_metadata(meta)
