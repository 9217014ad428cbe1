"""Similar words, worked out by hand; a stand-in for nltk's WordNet of a few words."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from frozenseg.evaluation.word_similarity import (
    installed_wordnet,
    text_similarity,
    wordnet_similarity,
)

# Word -> what it is a kind of.
KINDS = {
    "entity": [],
    "animal": ["entity"],
    "dog": ["animal"],
    "device": ["entity"],
    "way": ["entity"],
    "track": ["way"],
    "street": ["way"],
    "dog_track": ["way"],
    "t-shirt": ["device"],
    "piece": ["entity"],
    "rodent": ["animal"],
}


class Meaning(SimpleNamespace):
    def hypernym_distances(self):
        kinds = [Meaning(kind=kind) for kind in KINDS[self.kind]]
        above = {(k, d + 1) for kind in kinds for k, d in kind.hypernym_distances()}
        return {(self.kind, 0)} | above


class FewWords:
    """A mouse is a rodent first, then a device; others have one meaning."""

    def synsets(self, lemma, pos):
        assert pos == "n"
        if lemma == "mouse":
            return [Meaning(kind="rodent"), Meaning(kind="device")]
        return [Meaning(kind=lemma)] if lemma in KINDS else []


def similarity(*names):
    return wordnet_similarity([(n,) if isinstance(n, str) else n for n in names], FewWords())


def test_steps_between_words_through_what_they_are_kinds_of():
    """Dog, animal: 1 step; dog, mouse: 2; dog, way: 3; dog, street: 4."""
    found = similarity("dog", "animal", "mouse", "way", "street")
    assert found.values_CC[0].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert (found.values_CC == found.values_CC.T).all()
    assert (found.source, found.unknown) == ("WordNet", 0)


def test_the_most_frequent_meaning_counts():
    assert similarity("mouse", "device").values_CC[0, 1] == pytest.approx(1 / 4)


def test_the_best_of_all_names_of_a_class_counts():
    found = similarity(("zzz", "street", "dog"), "animal", "track", "dog")
    assert found.values_CC[0].tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1])
    assert found.unknown == 0


def test_words_that_are_not_known_are_similar_to_nothing():
    found = similarity("zzz", "", "dog")
    assert found.values_CC.tolist() == np.eye(3).tolist()
    assert found.unknown == 2


@pytest.mark.parametrize(
    ("phrase", "word"),
    [
        ("running track", "track"),
        ("a Dog  Track", "dog_track"),
        ("dog_track", "dog_track"),
        ("T-shirt", "t-shirt"),
        ("street-track", "track"),
        ("dog (pet)", "dog"),
        ("piece of track", "piece"),
        ("dog with a street", "dog"),
        ("track running", None),
    ],
)
def test_the_head_of_a_phrase_stands_for_it(phrase, word):
    found = similarity(phrase, *KINDS)
    same = [kind for kind, value in zip(KINDS, found.values_CC[0, 1:], strict=True) if value == 1]
    assert same == [word] if word else found.unknown == 1


def test_similarity_in_the_text_tower_begins_at_the_median_cosine():
    cosine = np.array(
        [[1, 0.9, 0.5, 0.5], [0.9, 1, 0.5, 0.5], [0.5, 0.5, 1, 0.7], [0.5, 0.5, 0.7, 1]]
    )
    values = text_similarity(cosine).values_CC
    assert values[0].tolist() == pytest.approx([1, 0.8, 0, 0])
    assert values[2, 3] == pytest.approx(0.4)
    assert text_similarity(np.ones((1, 1))).values_CC.tolist() == [[1]]


def _unreadable():
    raise OSError("No such file: lexnames")


def _missing():
    raise LookupError("a page of advice")


@pytest.mark.parametrize(
    ("nltk", "told"),
    [
        (None, "nltk.corpus"),
        (_missing, "no corpus of that name"),
        (_unreadable, "No such file: lexnames"),
        (lambda: None, ""),
    ],
)
def test_what_to_install_is_said_in_one_line(nltk, told, monkeypatch, caplog):
    wordnet = SimpleNamespace(ensure_loaded=nltk)
    monkeypatch.setitem(sys.modules, "nltk", SimpleNamespace())
    monkeypatch.setitem(
        sys.modules, "nltk.corpus", None if nltk is None else SimpleNamespace(wordnet=wordnet)
    )
    with caplog.at_level(logging.INFO):
        assert installed_wordnet() is (None if told else wordnet)
    assert [told in line and "nltk.downloader wordnet" in line for line in caplog.messages] == (
        [True] * bool(told)
    )
