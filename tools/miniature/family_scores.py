"""Scores a model with many combinations of its parts, of which each image is met once.

Legend: Q queries, T true segments, C classes, C1 = C + 1 (void last), H, W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from numpy.typing import NDArray
from torch import Tensor

from frozenseg.data.mappers.masks import build_mapper
from frozenseg.data.reading import ids_of_rgb, read_panoptic_png
from frozenseg.engine.evaluate import plan, seen_of
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.evaluators import build_evaluators
from frozenseg.evaluation.panoptic_quality import COUNTS, PanopticEvaluator
from frozenseg.evaluation.results import column
from frozenseg.inference.panoptic import keep_queries
from frozenseg.mask_classification.class_path import ClassLogits
from frozenseg.mask_classification.detectron2_io import geometry_of
from frozenseg.progress import bar
from frozenseg.structures import MaskPrediction
from tools.miniature.family_rows import SCORES, Row

FITS = 0.5  # IoU above which a query's mask is a true segment's
NEVER = -18.0  # log-probability


class Truth(NamedTuple):
    """The true segments of an image against the queries' masks."""

    classes_T: Tensor
    iou_QT: Tensor

    @property
    def best_Q(self) -> Tensor:
        """Which queries are the best one of a segment that they fit."""
        best_T = self.iou_QT.argmax(0)[self.iou_QT.amax(0) > FITS]
        return torch.zeros(len(self.iou_QT), dtype=torch.bool).index_fill(0, best_T, True)


class Combined:
    """A model with a Mask-Adapter, the parts of which are set row by row.

    Encoders, decoder and CLIP's look at the masks run once an image.

    Attributes:
        truth: of the image.
        logits: the class logits (C1) of the last call, of all tasks and of the panoptic one.
        void_Q, sure_Q: the decoder's p_void, and the largest p_out of CLIP.
    """

    truth: Truth
    logits: ClassLogits

    def __init__(self, model: Any) -> None:
        self.model, self.path, self.tasks = model, model.class_path, model.task_settings
        self.adapter, self.row, self._known = self.path.mask_adapter, Row(), dict[Any, Any]()
        self._classify, model.classify = model.classify, self._judge
        for owner, name in (
            (model, "encode"),
            (model.sem_seg_head, "forward"),
            (self.path, "embed_masks"),
        ):
            setattr(owner, name, self._once(name, getattr(owner, name)))

    def _once(self, name: str, function: Any) -> Any:
        def remembered(*args: Any, **options: Any) -> Any:
            place: tuple[Any, ...] = (name,)
            if name == "embed_masks":
                place = (name, self.row.adapter, self.row.threshold, args[0].shape)
            if place not in self._known:
                self._known[place] = function(*args, **options)
            return self._known[place]

        return remembered

    def meet(self, inputs: list[dict[str, Any]]) -> None:
        """From here on the calls are of this image."""
        self._known.clear()
        self._inputs = inputs
        self.path.mask_adapter = self.adapter
        self.model.encode(inputs)  # with the map that the adapter reads

    def __call__(self, row: Row) -> list[dict[str, Any]]:
        """The model's outputs of the image with a row."""
        self.row, whole = row, "semantic" in row.tasks
        self.path.mask_adapter = self.adapter if row.adapter else None
        self.path.mask_threshold = row.threshold
        self.path.ensemble = replace(
            self.path.ensemble, alpha=row.alpha, beta=row.beta, void_trust=row.trust
        )
        self.model.use_sam_masks = row.proposals
        self.model.task_settings = replace(self.tasks, semantic=whole, instance=whole)
        return list(self.model(self._inputs))

    def _judge(self, prediction: MaskPrediction, features: Mapping[str, Tensor]) -> ClassLogits:
        self.logits = self._classify(prediction, features)
        images, _ = self.model.encode(self._inputs)
        geometry = geometry_of(self._inputs[0], images, 0)
        if "truth" not in self._known:
            masks = F.interpolate(prediction.mask_logits_BQHW, geometry.padded, mode="bilinear")
            masks = masks[..., : geometry.image[0], : geometry.image[1]]
            masks = F.interpolate(masks, geometry.output, mode="bilinear")[0] > 0
            self._known["truth"] = compare(masks, self._inputs[0])
        self.truth = self._known["truth"]
        embeddings, _ = self.path.embed_masks(prediction.mask_logits_BQHW, features)
        classifier = self.model.classifier(self.model.vocabulary)
        clip = self.path.clip_logits(embeddings, classifier, features)
        self.sure_Q = clip[0].softmax(-1).amax(-1)
        self.void_Q = prediction.class_logits_BQC1[0].softmax(-1)[:, -1]
        if self.row.perfect_void:
            classes = self.logits.shared[..., :-1].log_softmax(-1)
            best = self.truth.best_Q[None, :, None]
            void = torch.where(best, NEVER, 0.0)
            panoptic = torch.cat((torch.where(best, classes, NEVER), void), dim=-1)
            self.logits = ClassLogits(self.logits.shared, panoptic)
        return self.logits


def compare(masks_QHW: Tensor, record: Mapping[str, Any]) -> Truth:
    """The annotated segments of a record against masks (bool)."""
    ids = torch.from_numpy(ids_of_rgb(read_panoptic_png(record["pan_seg_file_name"])))
    segments = record["segments_info"]
    true_TP = torch.stack([(ids == each["id"]).flatten() for each in segments]).float()
    masks_QP = masks_QHW.flatten(1).float()
    both_QT = masks_QP @ true_TP.T
    either_QT = masks_QP.sum(1)[:, None] + true_TP.sum(1) - both_QT
    classes = torch.tensor([each["category_id"] for each in segments])
    return Truth(classes, both_QT / either_QT.clamp(min=1))


class VoidStudy:
    """What "no object" does: to true segments, and to the queries that COAT lets speak.

    Attributes:
        segments: of the true segments by (group, what became of it): "found"; "void" hides a
            query that fits and has the right name; "wrong name" (some query fits); "no query".
        spoken: of the queries that speak with COAT alone: "right" (fits a segment that had no
            query yet, right name); "wrong name" (the same otherwise); "again" (fits one that had
            a query); "nothing" (fits none).
    """

    def __init__(self, seen_C: NDArray[Any], threshold: float) -> None:
        self.seen_C, self.threshold = seen_C, threshold
        self.segments: Counter[str] = Counter()
        self.spoken: Counter[str] = Counter()
        self.signals: list[Tensor] = []  # (3, Q): p_void, CLIP's largest p_out, the best of one

    def add(self, net: Combined) -> None:
        """Adds the image and row of the last call."""
        shared_QC1, (classes_T, iou_QT) = net.logits.shared[0], net.truth
        speaks_Q, with_coat_Q = (
            self._speaks(each) for each in (shared_QC1, net.logits.panoptic[0])
        )
        names_Q, fits_QT = shared_QC1[:, :-1].argmax(-1), iou_QT > FITS
        right_QT = fits_QT & (names_Q[:, None] == classes_T)
        has_query_T = (fits_QT & speaks_Q[:, None]).any(0)
        for t, name in enumerate(classes_T.tolist()):
            if (right_QT[:, t] & speaks_Q).any():
                what = "found"
            elif right_QT[:, t].any():
                what = "void"
            else:
                what = "wrong name" if fits_QT[:, t].any() else "no query"
            self.segments[f"{'seen' if self.seen_C[name] else 'unseen'}, {what}"] += 1
        for q in (with_coat_Q & ~speaks_Q).nonzero()[:, 0].tolist():
            t = int(iou_QT[q].argmax())
            if not fits_QT[q, t]:
                what = "nothing"
            elif has_query_T[t]:
                what = "again"
            else:
                what = "right" if right_QT[q, t] else "wrong name"
            self.spoken[what] += 1
        self.signals.append(torch.stack((net.void_Q, net.sure_Q, net.truth.best_Q.float())))

    def _speaks(self, logits_QC1: Tensor) -> Tensor:
        kept = keep_queries(logits_QC1.softmax(-1), self.threshold).queries
        return torch.zeros(len(logits_QC1), dtype=torch.bool).index_fill(0, kept, True)

    def report(self) -> dict[str, Any]:
        """The counts; and how well p_void and CLIP tell the best queries from all others.

        The latter in percent: how often the better one of a random pair has the smaller p_void, or
        the larger p_out (50: as a coin does).
        """
        void, sure, best = torch.cat(self.signals, dim=1).double().numpy()
        is_best = best > 0
        return {
            "segments": dict(sorted(self.segments.items())),
            "spoken": dict(sorted(self.spoken.items())),
            "told by p_void": pairs_won(-void[is_best], -void[~is_best]),
            "told by CLIP": pairs_won(sure[is_best], sure[~is_best]),
            "mean largest p_out, best": 100 * float(sure[is_best].mean()),
            "mean largest p_out, others": 100 * float(sure[~is_best].mean()),
        }


def pairs_won(better: NDArray[Any], worse: NDArray[Any]) -> float:
    """Percent of pairs in which the first value is the larger one (area under the ROC curve)."""
    worse = np.sort(worse)
    below = np.searchsorted(worse, better), np.searchsorted(worse, better, side="right")
    return 50 * float(np.mean(sum(below))) / len(worse)


def score_rows(
    model: Any, cfg: CfgNode, dataset: str, rows: Mapping[str, Row], images: int | None = None
) -> dict[str, Any]:
    """Scores of every row (and TP, FP, FN by group of classes), and the void study of each.

    Args: images: the first ones alone; None: all.
    """
    planned, meta = plan(cfg, dataset), MetadataCatalog.get(dataset)
    words, seen = meta.vocabulary, seen_of(cfg, meta.vocabulary)
    net, records = Combined(model), DatasetCatalog.get(dataset)[:images]
    threshold = planned.cfg.MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD
    evaluators = {
        title: build_evaluators(planned.row, words, row.tasks, seen) for title, row in rows.items()
    }
    studies = {
        title: VoidStudy(np.asarray(seen), threshold)
        for title, row in rows.items()
        if not (row.proposals or row.perfect_void or row.panoptic_alone)
    }
    mapper = build_mapper(planned.cfg, is_train=False, proposals=planned.proposals)
    model.set_vocabulary(words)
    for inputs in bar(build_detection_test_loader(records, mapper=mapper), dataset, "image"):
        net.meet(inputs)
        for title, row in rows.items():
            outputs = net(row)
            for each in evaluators[title]:
                each.process(inputs, outputs)
            if title in studies:
                studies[title].add(net)
    groups = class_groups(words.thing_mask, seen)
    return {
        "images": len(records),
        "rows": {title: scores(found, groups) for title, found in evaluators.items()},
        "void": {title: study.report() for title, study in studies.items()},
    }


def scores(evaluators: Sequence[Any], groups: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Column -> group of classes -> percent; and "counts": group -> TP, FP, FN."""
    metrics: dict[str, Any] = {}
    counts: dict[str, dict[str, int]] = {}
    for each in evaluators:
        if isinstance(each, PanopticEvaluator):
            for group, members in groups.items():
                sums = each.counts[members].sum(0)
                counts[group] = {name: int(sums[i]) for i, name in enumerate(COUNTS[:3])}
        metrics |= each.evaluate()
    found = {name: column(metrics, name) for name in SCORES}
    return {name: values for name, values in found.items() if values} | {"counts": counts}
