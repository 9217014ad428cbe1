"""How much the words decide: words that no image holds, single words, other prompts.

Some images of the benchmark are asked again with other words; CLIP looks at each of them once.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from detectron2.evaluation.evaluator import inference_context
from detectron2.utils import comm
from numpy.typing import NDArray

from frozenseg.data.catalog.lookup import datasets_root, row_vocabulary
from frozenseg.data.catalog.rows import DATASET_SPLITS
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.catalog.word_sets import OWN, WORD_SETS, with_words
from frozenseg.encoders.open_vocabulary import OpenVocabularyModel
from frozenseg.encoders.text.classifier import TextClassifierBuilder
from frozenseg.evaluation.absent_words import (
    DISTANCES,
    QueryScores,
    WordScores,
    absent_pool,
    draw_words,
    panoptic_table,
)
from frozenseg.evaluation.averages import Groups
from frozenseg.structures import TextClassifier
from frozenseg.vocab import Vocabulary
from frozenseg.vocab.class_tables import table_entries, table_names
from frozenseg.vocab.templates import TEMPLATE_SETS
from frozenseg.vocab.vocabulary import VocabularyClass

logger = logging.getLogger(__name__)

NUMBERS = (10, 100, 1000)  # of absent words
TASKS = ("panoptic", "semantic")
FEWEST_IMAGES = 8
CHEAPEST = 3
AS_SCORED = "as scored"
BARE = ("{}",)


class Asked(NamedTuple):
    """Words whose text is computed; stands where a model has its `TextClassifierBuilder`.

    More vocabularies than a builder keeps are asked in turn.
    """

    vocabulary: Vocabulary
    text: TextClassifier
    builder: TextClassifierBuilder

    def __call__(self, vocabulary: Vocabulary) -> TextClassifier:
        """The words' classifier; of another vocabulary the builder's."""
        return self.text if vocabulary is self.vocabulary else self.builder(vocabulary)

    def embed(self, words: Sequence[str]) -> torch.Tensor:
        """As `TextClassifierBuilder.embed`."""
        return self.builder.embed(words)


class Trial(NamedTuple):
    """One way of asking for the classes, and the scores so far."""

    asked: Asked
    scores: WordScores
    about: dict[str, Any]


def chosen_records(records: Sequence[Any], trials: int) -> list[Any]:
    """Evenly spaced records, so many that all trials ask about as often as the evaluation did."""
    number = min(len(records), max(FEWEST_IMAGES, len(records) // max(1, trials)))
    return [records[int(i)] for i in np.linspace(0, len(records) - 1, number).round()]


def class_cosines(model: Any, vocabulary: Vocabulary) -> NDArray[np.float32] | None:
    """Cosines (C, C) of the classes' names in the model's text tower; None without one."""
    if not isinstance(model, OpenVocabularyModel):
        return None
    names_CK = model.classifier(vocabulary).first_rows().float().cpu()
    return np.asarray((names_CK @ names_CK.T).numpy())


def word_pool() -> list[str]:
    """Words to draw from: the classes of all benchmarks that come with the project, ImageNet's."""
    from open_clip import IMAGENET_CLASSNAMES

    tables = [entry.names[0] for name in table_names() for entry in table_entries(name)]
    return list(dict.fromkeys([*tables, *IMAGENET_CLASSNAMES]))


def diagnose_words(
    model: Any,
    row: DatasetSplit,
    vocabulary: Vocabulary,
    groups: Groups,
    records: Sequence[Mapping[str, Any]],
    load: Callable[[list[Any]], Iterator[list[dict[str, Any]]]],
    *,
    tasks: Collection[str] = TASKS,
    words: str = OWN,
    seed: int = 0,
) -> dict[str, Any]:
    """The parts of a `Diagnosis` that are about words; {} for models without a text tower.

    Args:
        tasks: what the model outputs and the benchmark scores; nothing is asked without `TASKS`.
        vocabulary, words: of the evaluation, and the set that it is from.
        groups: of the classes.
        load: batches of the model's inputs from records.
    """
    if not isinstance(model, OpenVocabularyModel) or not set(TASKS) & set(tasks):
        return {}

    def trial(asked: Vocabulary, builder: TextClassifierBuilder, about: Any) -> Trial:
        scores = WordScores(vocabulary.names, groups, row.ignore_label)
        return Trial(Asked(asked, builder(asked), builder), scores, about)

    absent = [
        trial(asked, model.classifier, about)
        for asked, about in absent_vocabularies(model.classifier, vocabulary, seed)
    ]
    prompts = [
        trial(asked, classifier, about)
        for asked, classifier, about in other_prompts(model.classifier, row, vocabulary, words)
    ]
    queries, everything = QueryScores(), [*absent, *prompts]
    with inference_context(model), torch.no_grad():
        for batch in load(chosen_records(records, len(everything) + 2)):
            answer = _answerer(model, batch)
            for each in everything:
                each.scores.process(batch, answer(each.asked))
            if "panoptic" in tasks:
                _ask_single_words(queries, batch, answer, absent[0].asked, seed)
    scored = [(each.about, each.scores.evaluate()) for each in everything]
    asked_once = queries.evaluate()
    if not comm.is_main_process():
        return {}
    rows: list[Any] = [{**about, **(scores or {})} for about, scores in scored]
    found = {
        "absent_words": absent_rows(rows[: len(absent)]),
        "prompts": prompt_rows([rows[0], *rows[len(absent) :]]),
    }
    return {**found, "queries": asked_once} if asked_once else found


def absent_vocabularies(
    classifier: TextClassifierBuilder, vocabulary: Vocabulary, seed: int
) -> Iterator[tuple[Vocabulary, dict[str, Any]]]:
    """The vocabulary alone, then with more and more words, near and far."""
    yield vocabulary, {"words": 0, "distance": "none", **_prompt(AS_SCORED, classifier)}
    pool = absent_pool(vocabulary.synonyms, word_pool())
    if not pool:
        return
    closest_W = (
        (classifier.embed(pool) @ classifier.embed(vocabulary.all_synonyms).T).amax(1).numpy()
    )
    for distance in DISTANCES:
        for number in dict.fromkeys(min(number, len(pool)) for number in NUMBERS):
            drawn = draw_words(closest_W, number, distance, seed)
            added = [VocabularyClass(pool[i], (pool[i],), None, (0, 0, 0)) for i in drawn]
            more = Vocabulary((*vocabulary.classes, *added))
            yield more, {"words": number, "distance": distance}


def _prompt(name: str, classifier: TextClassifierBuilder, **changed: Any) -> dict[str, Any]:
    sets = {templates: key for key, templates in TEMPLATE_SETS.items()} | {BARE: "bare name"}
    templates = sets.get(classifier.templates, f"{len(classifier.templates)} given")
    return {"name": name, "templates": templates, "synonyms": True, "words_of": OWN, **changed}


def other_prompts(
    classifier: TextClassifierBuilder, row: DatasetSplit, vocabulary: Vocabulary, words: str
) -> Iterator[tuple[Vocabulary, TextClassifierBuilder, dict[str, Any]]]:
    """Other template sets, without synonyms, and the other sets of words that are there."""
    for name, templates in ({"bare name": BARE} | TEMPLATE_SETS).items():
        if templates != classifier.templates:
            other = classifier.with_templates(templates)
            yield vocabulary, other, _prompt(f"templates {name}", other, words_of=words)
    if any(len(names) > 1 for names in vocabulary.synonyms):
        first = [replace(item, synonyms=(item.name,)) for item in vocabulary.classes]
        about = _prompt("without synonyms", classifier, synonyms=False, words_of=words)
        yield Vocabulary(tuple(first)), classifier, about
    for other_words in (OWN, *WORD_SETS):
        if other_words == words or row not in DATASET_SPLITS:
            continue
        try:
            asked = _words_of(row, vocabulary, other_words)
        except (ValueError, OSError) as reason:
            logger.info("%s: no diagnosis with the words %s: %s", row.name, other_words, reason)
            continue
        about = _prompt(f"words {other_words}", classifier, words_of=other_words)
        yield asked, classifier, about


def _words_of(row: DatasetSplit, vocabulary: Vocabulary, words: str) -> Vocabulary:
    if words != OWN:
        return with_words(vocabulary, row, words)
    return row_vocabulary(row, datasets_root())


Answer = Callable[[Asked], list[dict[str, Any]]]


def _answerer(model: OpenVocabularyModel, batch: list[dict[str, Any]]) -> Answer:
    """What the model says of a batch with any words; its encoders look at it once if they can."""
    own: Any = model
    shares = hasattr(own, "segment_encoded") and not own.oracle_masks
    encoded = own.encode(batch) if shares else None

    def answer(asked: Asked) -> list[dict[str, Any]]:
        with asking(model, asked):
            return list(own.segment_encoded(batch, *encoded) if encoded else own(batch))

    return answer


@contextmanager
def asking(model: Any, asked: Asked) -> Iterator[None]:
    """Within it the model has other words and their text."""
    before = model.vocabulary, model.classifier
    model.classifier = asked
    model.set_vocabulary(asked.vocabulary)
    try:
        yield
    finally:
        model.classifier = before[1]
        model.set_vocabulary(before[0])


def _ask_single_words(
    queries: QueryScores, batch: list[dict[str, Any]], answer: Answer, whole: Asked, seed: int
) -> None:
    """Of every image one class that it holds and one that it does not."""
    classes = whole.vocabulary.classes
    for number, record in enumerate(batch):
        there = sorted({segment["category_id"] for segment in record["segments_info"]})
        others = sorted(set(range(len(classes))) - set(there))
        generator = np.random.default_rng(
            [seed, zlib.crc32(Path(record["file_name"]).name.encode())]
        )
        for choices in filter(None, (there, others)):
            label = int(generator.choice(choices))
            text = whole.text.select(torch.tensor([label], device=whole.text.embeddings_SK.device))
            asked = Asked(Vocabulary((classes[label],)), text, whole.builder)
            queries.add(panoptic_table(record, answer(asked)[number]), label)


def absent_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`diagnosis.AbsentWords`, of which the first is without further words."""
    kept = ("words", "distance", "images", "false_segments", "of_absent_words", "absent_pixels")
    return [
        {key: one[key] for key in kept}
        | {name: one[name] for name in ("PQ", "mIoU")}
        | {f"{name}_lost": rows[0][name] - one[name] for name in ("PQ", "mIoU")}
        for one in rows
    ]


def prompt_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`diagnosis.Prompts`, of which the first is the one of the evaluation."""
    per_class: dict[str, dict[str, float]] = {}
    for one in rows:
        for name, value in one["per_class"].items():
            per_class.setdefault(name, {})[one["name"]] = value
    changes: list[dict[str, Any]] = []
    for name, by_prompt in per_class.items():
        best = max(by_prompt, key=lambda prompt: by_prompt[prompt])
        before = by_prompt.get(AS_SCORED, 0.0)
        if by_prompt[best] > before:
            after = by_prompt[best]
            changes.append({"name": name, "prompt": best, "before": before, "after": after})
    scores = {name: [one[name] for one in rows] for name in ("PQ", "mIoU")}
    return {
        "images": rows[0]["images"],
        "score": "PQ" if np.isfinite(rows[0]["PQ"]) else "mIoU",
        "prompts": [
            {
                **{key: one[key] for key in ("name", "templates", "synonyms")},
                "words": one["words_of"],
                "scores": {name: one[name] for name in scores},
            }
            for one in rows
        ],
        "spread": {name: max(values) - min(values) for name, values in scores.items()},
        "per_class": per_class,
        "cheapest": sorted(changes, key=lambda one: one["before"] - one["after"])[:CHEAPEST],
    }
