"""The diagnosis of what a benchmark's evaluators are fed with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray

from frozenseg.evaluation.instance_ap import InstanceEvaluator
from frozenseg.evaluation.label_diagnosis import LabelDiagnosis
from frozenseg.evaluation.object_diagnosis import ObjectDiagnosis
from frozenseg.evaluation.panoptic_quality import PanopticEvaluator
from frozenseg.evaluation.segment_diagnosis import SegmentDiagnosis
from frozenseg.evaluation.semantic_iou import SemanticEvaluator
from frozenseg.evaluation.word_similarity import (
    Similarity,
    WordNet,
    text_similarity,
    wordnet_similarity,
)
from frozenseg.vocab import Vocabulary


def build_diagnosis(
    evaluators: Sequence[DatasetEvaluator],
    vocabulary: Vocabulary,
    cosine_CC: NDArray[Any] | None = None,
    wordnet: WordNet | None = None,
) -> DiagnosisEvaluator:
    """The diagnosis of what `build_evaluators` gave.

    Args:
        cosine_CC: of the classes' words in the text tower.
        wordnet: judges near misses in words, too, as the text tower does.
    """
    similarities = [] if cosine_CC is None else [text_similarity(cosine_CC)]
    if wordnet is not None:
        similarities.append(wordnet_similarity(vocabulary.synonyms, wordnet))
    words = (cosine_CC, similarities)
    parts: list[DatasetEvaluator] = []
    segments = any(isinstance(one, PanopticEvaluator) for one in evaluators)
    for one in evaluators:
        if isinstance(one, PanopticEvaluator):
            things = vocabulary.thing_mask
            parts.append(SegmentDiagnosis(one.class_names, one.groups, things, *words))
        elif isinstance(one, SemanticEvaluator):
            about = (one.class_names, one.groups, one.ignore_label, *words)
            parts.append(LabelDiagnosis(*about, with_confusions=not segments))
        elif isinstance(one, InstanceEvaluator) and one.key == "instance":
            parts.append(ObjectDiagnosis(one))
    return DiagnosisEvaluator(parts, similarities)


class DiagnosisEvaluator(DatasetEvaluator):
    """Several diagnoses as one evaluator."""

    def __init__(
        self, parts: Sequence[DatasetEvaluator], similarities: Sequence[Similarity] = ()
    ) -> None:
        """`similarities`: those that the parts count near misses by."""
        self.parts = list(parts)
        self.similarities = list(similarities)
        self.seconds = 0.0

    def reset(self) -> None:
        """Forgets all images."""
        for part in self.parts:
            part.reset()
        self.seconds = 0.0

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images."""
        start = time.perf_counter()
        for part in self.parts:
            part.process(inputs, outputs)
        self.seconds += time.perf_counter() - start

    def evaluate(self) -> dict[str, Any] | None:
        """{"diagnosis": all parts}, on the main process."""
        start = time.perf_counter()
        found = [part.evaluate() for part in self.parts]
        self.seconds += time.perf_counter() - start
        if not comm.is_main_process():
            return None
        diagnosis: dict[str, Any] = {"seconds": round(self.seconds, 2), "oracles": {}}
        near: dict[str, Any] = {each.source: {} for each in self.similarities}
        for part in found:
            diagnosis["oracles"] |= part.pop("oracles", {})
            for source, scores in part.pop("open", {}).items():
                near[source] |= scores
            diagnosis |= part
        judged = [
            {"similarity": each.source, "unknown_classes": each.unknown, **near[each.source]}
            for each in self.similarities
            if near[each.source]
        ]
        return {"diagnosis": diagnosis | ({"open": judged} if judged else {})}
