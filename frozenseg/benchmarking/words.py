"""What a change of words costs on a loaded model: seconds, and prompts of its text tower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from frozenseg.benchmarking.clock import StageClock
from frozenseg.encoders.text.classifier import TextClassifierBuilder
from frozenseg.vocab import Vocabulary
from frozenseg.vocab.class_tables import table_names

NEW_WORDS = 10


def measure_change_of_words(
    model: Any, words: int, cache: Path, synchronise: Callable[[], None] = lambda: None
) -> list[dict[str, Any]]:
    """The cost of four vocabularies one after another: new, the same, more words, the first again.

    Args:
        words: of the first vocabulary, each a class; the third has `NEW_WORDS` more.
        cache: an empty folder for the embeddings.
        synchronise: waits for the device.
    Returns: one dict for each: "vocabulary" (what it is), "words", "seconds" and "processor
        seconds" until the classifier is ready, "prompts" that went through the text tower (equal
        ones once).
    Raises: ValueError for fewer words than 1 or more than the built-in tables have.
    """
    names = _names(words + NEW_WORDS)
    first, more = (Vocabulary.from_names([[name] for name in names[:n]]) for n in (words, None))
    changes = {
        "first": first,
        "the same again": first,
        f"{NEW_WORDS} new words added": more,
        "the first again": first,
    }
    text = model.classifier._text
    builder = TextClassifierBuilder(text, templates=model.classifier.templates, cache_dir=cache)
    before, rows, clock = model.vocabulary, [], StageClock(synchronise)
    with mock.patch.object(model, "classifier", builder), _counted(text) as prompts:
        for change, vocabulary in changes.items():
            prompts.clear()
            with clock.stage(change):
                model.set_vocabulary(vocabulary)
                model.classifier(model.vocabulary)
            row = {"vocabulary": change, "words": len(vocabulary), **clock.own[change].seconds}
            rows.append({**row, "prompts": sum(prompts)})
    model.set_vocabulary(before)
    return rows


def _names(count: int) -> list[str]:
    """That many different names of classes, from the built-in tables."""
    tables = (Vocabulary.from_table(name) for name in sorted(table_names()))
    known = dict.fromkeys(name.casefold() for table in tables for name in table.names)
    if not NEW_WORDS < count <= len(known):
        raise ValueError(
            f"--words must be 1 to {len(known) - NEW_WORDS} (the names of the built-in tables), "
            f"got {count - NEW_WORDS}"
        )
    return list(known)[:count]


@contextmanager
def _counted(text: Any) -> Iterator[list[int]]:
    """A list that gains the number of prompts of every call of the text tower."""
    prompts: list[int] = []
    encode = text.encode

    def counting(tokens_NL: Any, is_token_NL: Any) -> Any:
        prompts.append(len(tokens_NL))
        return encode(tokens_NL, is_token_NL)

    with mock.patch.object(text, "encode", counting):
        yield prompts
