"""The words of the miniature world: no name twice, and a fair split into seen and unseen."""

from __future__ import annotations

from collections import Counter

from frozenseg.data.miniature.classes import (
    ALL,
    CLASSES,
    COLORS,
    FOLDS,
    NOVEL_SEEN,
    SEEN,
    SHAPES,
    all_names,
    held_out,
    vocabulary_text,
)
from frozenseg.vocab import Vocabulary, seen_classes


def test_64_things_and_6_stuff():
    assert len(CLASSES) == 70
    assert sum(row.is_thing for row in CLASSES) == 64
    assert len({(row.shape, row.color) for row in CLASSES if row.is_thing}) == 64


def test_two_colours_of_every_shape_and_one_stuff_are_unseen():
    unseen = [row for row in CLASSES if not row.seen]
    things = [row for row in unseen if row.is_thing]
    assert Counter(row.shape for row in things) == dict.fromkeys(range(len(SHAPES)), 2)
    assert Counter(row.color for row in things) == dict.fromkeys(range(len(COLORS)), 2)
    assert len(unseen) - len(things) == 1
    assert all(CLASSES[i].seen for i in SEEN)


def test_the_novel_split_leaves_out_three_shapes_and_one_stuff():
    # A shape has its 8 colours in a row: star 24-31, ring 40-47, moon 56-63; wood is the last one.
    unseen = [i for i in ALL if i not in NOVEL_SEEN]
    assert unseen == [*range(24, 32), *range(40, 48), *range(56, 64), 69]
    assert [CLASSES[i].name for i in (24, 40, 56)] == ["red star", "red ring", "red moon"]
    assert Counter(CLASSES[i].color for i in NOVEL_SEEN if CLASSES[i].is_thing) == dict.fromkeys(
        range(len(COLORS)), 5
    )


def test_vocabulary_has_every_class_with_synonyms():
    vocabulary = Vocabulary.parse(vocabulary_text())
    assert vocabulary.names == tuple(row.name for row in CLASSES)
    assert vocabulary.synonyms == tuple(row.synonyms for row in CLASSES)
    assert vocabulary.thing_mask == [row.is_thing for row in CLASSES]
    assert all(len(synonyms) == 3 for synonyms in vocabulary.synonyms)
    assert len(set(vocabulary.all_synonyms)) == 210


def test_seen_classes_are_those_of_the_training_vocabulary():
    train = Vocabulary.parse(vocabulary_text(SEEN))
    seen = seen_classes(Vocabulary.parse(vocabulary_text()), train)
    assert seen == [row.seen for row in CLASSES]


def test_names_include_the_synonyms_and_no_name_has_two_meanings():
    owners: dict[str, int] = {}
    for c in ALL:
        assert set(CLASSES[c].synonyms) <= set(all_names(c))
        for name in all_names(c):
            assert owners.setdefault(name, c) == c
    assert len(owners) == 64 * 6 + 6 * 3


def test_folds_hold_out_every_thing_once_and_every_word_remains():
    folds = [held_out(fold) for fold in range(FOLDS)]
    assert sorted(i for fold in folds for i in fold) == [i for i in ALL if CLASSES[i].is_thing]
    for fold in folds:
        assert Counter(CLASSES[i].shape for i in fold) == dict.fromkeys(range(len(SHAPES)), 2)
        assert Counter(CLASSES[i].color for i in fold) == dict.fromkeys(range(len(COLORS)), 2)


def test_names_alone_are_the_canonical_ones():
    text = vocabulary_text((0, 64, 9), synonyms=False)
    assert text == "red circle;grass:stuff;yellow square"
