"""Kept predictions scored as in an evaluation, against the ground truth or against each other."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detectron2.data import DatasetCatalog, MetadataCatalog

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.register import (
    register_dataset_file,
    register_splits,
    registered_split,
)
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.evaluators import build_evaluators
from frozenseg.evaluation.panoptic_quality import PanopticEvaluator
from frozenseg.evaluation.per_image import PerImage, keep_images, per_image_of
from frozenseg.evaluation.prediction_folder import AGAIN, PredictionFolder
from frozenseg.evaluation.results import column, plain
from frozenseg.evaluation.semantic_iou import SemanticEvaluator
from frozenseg.progress import bar
from frozenseg.vocab import Vocabulary

# The columns that single images are scored by, the first one that there is.
IMAGE_SCORES = ("PQ", "mIoU", "AP", "AP, official")
Record = Mapping[str, Any]


class Scores(NamedTuple):
    """The `metrics` of an entry of results.json, and each image's score by column.

    Attributes:
        counts: of every image, of panoptic and semantic predictions.
    """

    metrics: dict[str, Any]
    images: dict[Any, dict[str, float]]
    counts: PerImage | None


class Truth(NamedTuple):
    """A dataset as it is on this disk."""

    row: DatasetSplit
    vocabulary: Vocabulary
    records: list[dict[str, Any]]
    json_file: str | None


def truth_of(folder: PredictionFolder) -> Truth:
    """The dataset that predictions are of.

    Raises: FileNotFoundError with the remedy for files that are missing; ValueError if its classes
        or images are others than those of the predictions.
    """
    about = folder.about
    register_splits()
    if "dataset_file" in about:
        if not Path(about["dataset_file"]).is_file():
            raise FileNotFoundError(
                f"{about['dataset_file']} does not exist: it describes the dataset "
                f"{about['dataset']} of {folder.folder}; put it back, with the data beside it"
            )
        register_dataset_file(about["dataset_file"])
    row, meta = registered_split(about["dataset"]), MetadataCatalog.get(about["dataset"])
    vocabulary = meta.vocabulary
    things = dict(zip(class_of_category(row, vocabulary), vocabulary.thing_mask, strict=True))
    _check_classes(folder, things, f"the dataset {about['dataset']}")
    records = DatasetCatalog.get(about["dataset"])
    _check_images(folder, (record["image_id"] for record in records), "the dataset's annotation")
    return Truth(row, vocabulary, records, meta.get("json_file"))


def check_comparable(first: PredictionFolder, second: PredictionFolder) -> None:
    """Raises ValueError unless two folders are different ones of the same dataset and images."""
    if first.folder.resolve() == second.folder.resolve():
        raise ValueError(f"{second.folder} is given twice: give the folders of two evaluations")
    names = [folder.about["dataset"] for folder in (first, second)]
    if names[0] != names[1]:
        raise ValueError(
            f"{first.folder} has predictions of {names[0]}, {second.folder} of {names[1]}: give "
            "those of one dataset"
        )
    categories = first.about["categories"]
    things = {each["id"]: bool(each["isthing"]) for each in categories}
    _check_classes(second, things, str(first.folder))
    _check_images(second, first.images, str(first.folder))


def _check_classes(folder: PredictionFolder, things: Mapping[int, bool], other: str) -> None:
    found = {each["id"]: bool(each["isthing"]) for each in folder.about["categories"]}
    if list(found.items()) != list(things.items()):
        differing = sorted(dict(found.items() ^ things.items()))
        raise ValueError(
            f"{folder.folder}: its categories are not those of {other} (their ids, order, or what "
            f"is a thing{f', first of {differing[0]}' if differing else ''}): {AGAIN}"
        )


def _check_images(folder: PredictionFolder, images: Iterable[Any], other: str) -> None:
    wanted = set(images)
    if differing := sorted(wanted ^ set(folder.images), key=str):
        where = "only in it" if differing[0] in folder.images else f"only in {other}"
        raise ValueError(
            f"{folder.folder}: has {len(folder.images)} images, {other} has {len(wanted)}, and "
            f"image {differing[0]} is {where}: predictions of the same images can be compared"
        )


def score_predictions(folder: PredictionFolder, truth: Truth) -> Scores:
    """The scores that the evaluation had, without the split into seen and unseen classes."""
    kinds = folder.about["kinds"]
    evaluators = build_evaluators(truth.row, truth.vocabulary, kinds, json_file=truth.json_file)
    return _score(evaluators, truth.records, folder)


def agreement(first: PredictionFolder, second: PredictionFolder) -> Scores:
    """PQ and mIoU of the second folder if the first one is taken for the ground truth."""
    categories = first.about["categories"]
    names = tuple(each["name"] for each in categories)
    groups = class_groups([bool(each["isthing"]) for each in categories])
    evaluators: list[Any] = []
    kinds = [kind for kind in first.about["kinds"] if kind in second.about["kinds"]]
    if "panoptic" in kinds:
        evaluators.append(PanopticEvaluator(names, groups))
    if "semantic" in kinds:
        evaluators.append(SemanticEvaluator(names, groups, first.about["none"]))
    return _score(evaluators, [_record(first, image) for image in first.images], second)


def _record(folder: PredictionFolder, image: Any) -> dict[str, Any]:
    """The predictions of an image as a record of ground truth."""
    record = {"image_id": image, "file_name": folder.images[image]["file_name"]}
    if "panoptic" in folder.about["kinds"]:
        segments = [{"iscrowd": 0, **segment} for segment in folder.segments(image)]
        record |= {
            "pan_seg_file_name": str(folder.map_path("panoptic", image)),
            "segments_info": segments,
        }
    if "semantic" in folder.about["kinds"]:
        record |= {
            "sem_seg_file_name": str(folder.map_path("semantic", image)),
            "label_ids": tuple(folder.labels),
        }
    return record


def _score(
    evaluators: Sequence[Any], records: Sequence[Record], folder: PredictionFolder
) -> Scores:
    """The sums over the images are made as in an evaluation, so that all digits are the same."""
    keep_images(evaluators)
    totals = [copy.copy(evaluator) for evaluator in evaluators]
    for total in totals:
        total.reset()
    images: dict[Any, dict[str, float]] = {}
    for record in bar(records, folder.about["dataset"], "image"):
        output = folder.output(record["image_id"])
        of_image: dict[str, Any] = {}
        for evaluator, total in zip(evaluators, totals, strict=True):
            evaluator.reset()
            evaluator.process([record], [output])
            total.add(evaluator)
            of_image |= evaluator.evaluate()
        found = {name: column(of_image, name).get("all") for name in IMAGE_SCORES}
        images[record["image_id"]] = {
            name: value for name, value in found.items() if value is not None
        }
    metrics: dict[str, Any] = {}
    for total in totals:
        metrics |= total.evaluate()
    return Scores(plain(metrics), images, per_image_of(totals, folder.about))
