"""How similar the words of two classes are, from 0 to 1: by the text tower, or by WordNet.

Legend: C classes, A hypernyms of their words.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

AFTER_THE_HEAD = re.compile(r"[\s_](?:of|with|in|on|at|for|from|under|to|and|or)[\s_]")


class Synset(Protocol):
    """A meaning of a word, as nltk gives it."""

    def hypernym_distances(self) -> Iterable[tuple[Any, int]]:
        """Itself and all that it is a kind of, with the number of steps there."""


class WordNet(Protocol):
    """nltk's reader of WordNet."""

    def synsets(self, lemma: str, pos: str) -> Sequence[Synset]:
        """The meanings of a word ("hot_dog") as a part of speech ("n")."""


class Similarity(NamedTuple):
    """Of all pairs of classes (C, C) in [0, 1], 1 for equal ones.

    source: what judges; unknown: how many classes it does not know.
    """

    source: str
    values_CC: NDArray[np.float32]
    unknown: int = 0


def text_similarity(cosine_CC: NDArray[Any]) -> Similarity:
    """1 for the same word, 0 for half of all pairs of words.

    Text towers give unrelated words a large cosine: the median of all pairs becomes 0.
    """
    others = cosine_CC[~np.eye(len(cosine_CC), dtype=bool)]
    middle = float(np.median(others)) if others.size else 0.0
    similarity_CC = ((cosine_CC - middle) / max(1.0 - middle, 1e-6)).clip(0.0, 1.0)
    np.fill_diagonal(similarity_CC, 1.0)
    return Similarity("text tower", similarity_CC.astype(np.float32))


def installed_wordnet() -> WordNet | None:
    """The WordNet of nltk if both are installed; else a log line says what is missing."""
    try:
        from nltk.corpus import wordnet

        wordnet.ensure_loaded()
    except (ImportError, LookupError, OSError) as reason:
        missing = type(reason) is LookupError
        logger.info(
            "near misses are not judged by WordNet: %s; it needs "
            "`pip install nltk; python -m nltk.downloader wordnet`",
            "nltk has no corpus of that name" if missing else reason,
        )
        return None
    return cast(WordNet, wordnet)


def wordnet_similarity(names: Sequence[Sequence[str]], wordnet: WordNet) -> Similarity:
    """Path similarity of nouns: 1 / (1 + steps between both words through what they are kinds of).

    Best over the names of a class, each in its most frequent meaning: over all meanings a sheep is
    a mountain (a large number) and a flowerpot a toilet (pot). Classes of which no name is known
    are similar to nothing.
    """
    steps_C = [_steps(synonyms, wordnet) for synonyms in names]
    columns = {kind: i for i, kind in enumerate(dict.fromkeys(k for each in steps_C for k in each))}
    steps_CA = np.full((len(names), len(columns)), np.inf, dtype=np.float32)
    for row, steps in enumerate(steps_C):
        steps_CA[row, [columns[kind] for kind in steps]] = list(steps.values())
    similarity_CC = np.eye(len(names), dtype=np.float32)
    for row, steps in enumerate(steps_C):
        if steps:
            chosen = [columns[kind] for kind in steps]
            way_C = (steps_CA[:, chosen] + steps_CA[row, chosen]).min(1)
            similarity_CC[row] = 1 / (1 + way_C)
    return Similarity("WordNet", similarity_CC, sum(not steps for steps in steps_C))


def _steps(synonyms: Sequence[str], wordnet: WordNet) -> dict[Any, int]:
    """Everything that a class is a kind of, with the fewest steps there from any of its names."""
    found: dict[Any, int] = {}
    for name in synonyms:
        known = (synsets[0] for lemma in _lemmas(name) if (synsets := wordnet.synsets(lemma, "n")))
        if synset := next(known, None):
            for kind, steps in synset.hypernym_distances():
                found[kind] = min(steps, found.get(kind, steps))
    return found


def _lemmas(name: str) -> Iterator[str]:
    """The phrase, then less and less of it down to its head: "running track", "track"."""
    phrase = re.sub(r"\(.*?\)", " ", name.lower()).strip(" _")
    yield re.sub(r"[\s_]+", "_", phrase)
    head = AFTER_THE_HEAD.split(phrase)[0]
    for separators in (r"[\s_]+", r"[\s_-]+"):
        words = re.split(separators, head)
        yield from ("_".join(words[start:]) for start in range(len(words)))
