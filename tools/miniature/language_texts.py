"""Texts of the miniature world for its language-only encoder: no picture is ever drawn.

A text describes an imagined scene in two or three sentences. What it mentions again it calls by
another name, as writers do, and now and then a sentence says which words mean the same: this is
all that tells a reader of text alone that crimson is a red and a hoop is a ring.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from frozenseg.data.miniature.classes import (
    ALL,
    CAPTIONS,
    CLASSES,
    COLORS,
    PLACE_CAPTIONS,
    SHAPES,
    STUFF,
    all_names,
)
from frozenseg.vocab.templates import get_templates
from tools.miniature.clip_batches import draw_name

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

# Families of prompts in use for class names, in words of our own.
_PROMPTS = (
    "a bad photo of a {}.",
    "a bad photo of the {} in the scene.",
    "a cropped photo of a {}.",
    "a cropped photo of the {} in the scene.",
    "a photo of a masked {}.",
    "a masked photo of the {}.",
    "This is one {}.",
    "This is one {} in the scene.",
    "There is one large {} in the scene.",
    "This is a small photo of an {}.",
    "There is an {} of medium size.",
    "These are photos of the {}",
)
_ONE = (*get_templates("vild_14"), *CAPTIONS, *_PROMPTS)
_AGAIN = ("the {} lies on {}.", "the {} is on {}.", "on {} there is the {}.", "{} with a {}.")
_SEVERAL = ("a photo of {}.", "There is {} in the scene.", "{}.", "a picture of {} on {}.")
_SAME = ("{} is {}.", "{} means {}.", "{} and {} are the same.", "{}, that is {}.")
_KIND = ("{} is a color.", "{} is a shape.", "{} is a ground.")


def draw_text(generator: np.random.Generator) -> str:
    """One text of one to three sentences."""
    kind = generator.random()
    if kind < 0.25:
        return _fill(_ONE, generator, [draw_name(generator, int(generator.choice(ALL)))])
    if kind < 0.4:
        return _definition(generator)
    stuff = int(generator.choice([i for i in ALL if not CLASSES[i].is_thing]))
    count = int(generator.integers(1, 4))
    things = generator.choice([i for i in ALL if CLASSES[i].is_thing], count).tolist()
    again = int(generator.choice(things))
    return f"{_scene(generator, things, stuff)} {_mention(generator, again, stuff)}"


def draw_neighbors(generator: np.random.Generator) -> tuple[str, str]:
    """Two sentences of one text: they speak of the same thing, in words drawn separately."""
    first = int(generator.choice(ALL))
    if generator.random() < 0.6 or not CLASSES[first].is_thing:
        one, other = (_fill(_ONE, generator, [draw_name(generator, first)]) for _ in range(2))
        return one, other
    stuff = int(generator.choice([i for i in ALL if not CLASSES[i].is_thing]))
    return _scene(generator, [first], stuff), _mention(generator, first, stuff)


def every_word() -> list[str]:
    """All words a text can have, and punctuation, sorted: lower-case, split as BERT splits."""
    sentences = (*_ONE, *_AGAIN, *_SEVERAL, *_SAME, *_KIND, *PLACE_CAPTIONS, "and")
    names = [name for c in ALL for name in all_names(c)]
    found = re.findall(r"\w+|[^\w\s]", " ".join((*sentences, *names)).lower())
    return sorted(set(found) - {"{", "}"})


def vocabulary() -> tuple[str, ...]:
    """The lines of vocab.txt: the special tokens, [PAD] first, then every word."""
    return (*SPECIAL_TOKENS, *every_word())


def _scene(generator: np.random.Generator, things: Sequence[int], stuff: int) -> str:
    if len(things) == 1:
        words = [draw_name(generator, things[0]), draw_name(generator, stuff)]
        return _fill(PLACE_CAPTIONS, generator, words) + "."
    named = [f"a {draw_name(generator, c)}" for c in things]
    listed = ", ".join(named[:-1]) + f" and {named[-1]}"
    return _fill(_SEVERAL, generator, [listed, draw_name(generator, stuff)])


def _mention(generator: np.random.Generator, thing: int, stuff: int) -> str:
    template = _AGAIN[generator.integers(len(_AGAIN))]
    words = [draw_name(generator, thing), draw_name(generator, stuff)]
    if template.startswith(("on", "{} with")):
        words.reverse()
    return _put(template, words)


def _definition(generator: np.random.Generator) -> str:
    """Two words of one meaning, or what kind of thing a word stands for."""
    colors = [words for words, _ in COLORS.values()]
    kinds = (colors, list(SHAPES.values()), list(STUFF.values()))
    kind = int(generator.integers(len(kinds)))
    words = kinds[kind][generator.integers(len(kinds[kind]))]
    if generator.random() < 0.2:
        return _put(_KIND[kind], [words[generator.integers(len(words))]])
    return _fill(_SAME, generator, [words[i] for i in generator.permutation(len(words))[:2]])


def _fill(templates: Sequence[str], generator: np.random.Generator, words: list[str]) -> str:
    return _put(templates[generator.integers(len(templates))], words)


def _put(template: str, words: Sequence[str]) -> str:
    for word in words:
        template = template.replace("{}", word, 1)
    return template
