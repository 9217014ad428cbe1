"""Kept predictions as they come out of a model again: what `prediction_writer` wrote.

Legend: H and W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from detectron2.structures import Instances
from msgspec import Meta
from pycocotools import mask as coco_mask
from typing_extensions import NotRequired, TypedDict

from frozenseg.data.reading import ids_of_rgb, read_label_png, read_panoptic_png
from frozenseg.data.schemas import Count, Flag, Id, ImageEntry, RunLengths, SegmentEntry
from frozenseg.evaluation.prediction_writer import (
    FOLDER,
    FORMAT,
    INDEX,
    KINDS,
    LARGEST_LABEL,
    is_part_folder,
    part_folder,
)
from frozenseg.files import file_digest, file_sha256, read_typed
from frozenseg.structures import BACKGROUND

Label = Annotated[int, Meta(ge=0, le=LARGEST_LABEL)]
AGAIN = "evaluate again with --save-predictions (TEST.SAVE_PREDICTIONS True)"
CHANGED = f"was changed after the evaluation wrote it (its SHA-256 is another one): {AGAIN}"


class Category(TypedDict):
    """A class: `label` is its value in label maps."""

    id: int
    name: str
    isthing: Flag
    label: Label


class _Index(TypedDict):
    """predictions.json; entries that only people read are not named."""

    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    benchmark: str
    dataset: str
    split: str
    images: Count
    kinds: list[Literal["panoptic", "instance", "semantic"]]
    categories: list[Category]
    none: Label
    files: dict[str, str]
    protocol: dict[str, Any]
    config_hash: str
    checkpoint: str
    checkpoint_hash: str | None
    dataset_file: NotRequired[str]


class _Found(TypedDict):
    image_id: Id
    category_id: int
    score: float
    segmentation: RunLengths


class _Map(TypedDict):
    """`segments_info` is that of panoptic.json alone."""

    image_id: Id
    file_name: str
    digest: str
    segments_info: NotRequired[list[SegmentEntry]]


class _Maps(msgspec.Struct):
    """panoptic.json and semantic.json."""

    annotations: list[_Map]


_SCHEMAS: dict[str, Any] = {
    "images": list[ImageEntry],
    "panoptic": _Maps,
    "instance": list[_Found],
    "semantic": _Maps,
}


def index_of(path: Path) -> Path | None:
    """The predictions.json of a folder of predictions, or of a file in it; None for other paths.

    Raises: FileNotFoundError for the predictions of a run that was broken off, or without their
        index; ValueError for a folder of several such folders.
    """
    files = {f"{kind}.json" for kind in KINDS}
    folder = path.parent if path.name in {INDEX, *files} else path
    if (folder / INDEX).is_file():
        return folder / INDEX
    if is_part_folder(folder) or part_folder(folder).is_dir():
        raise FileNotFoundError(
            f"{folder}: the evaluation that writes these predictions has not ended, or was broken "
            f"off: {AGAIN}"
        )
    inside = sorted(each.parent.name for each in folder.glob(f"*/{INDEX}"))
    if inside:
        raise ValueError(f"{folder}: has predictions of {', '.join(inside)}: name one such folder")
    if any((folder / name).is_file() for name in files):
        raise FileNotFoundError(
            f"{folder / INDEX} does not exist: copy the whole folder of predictions, or {AGAIN}"
        )
    return None


def read_index(path: Path) -> dict[str, Any]:
    """The content of a predictions.json. Raises: FileNotFoundError; ValueError with the place."""
    return dict(read_typed(path, _Index, AGAIN))


class PredictionFolder:
    """The predictions of one dataset.

    Attributes:
        folder: where they are.
        about: what predictions.json says: dataset, protocol, hashes, kinds, categories.
        images: id -> file name, height and width.
        class_of: category id -> class index; `labels`: value of every class in label maps.
    """

    def __init__(self, index: Path) -> None:
        """Reads the JSON files; the PNGs are read when they are asked for.

        Raises: FileNotFoundError for missing files, ValueError for changed and damaged ones.
        """
        self.folder, self.about = index.parent, read_index(index)
        self.class_of = {each["id"]: i for i, each in enumerate(self.about["categories"])}
        self.labels = [each["label"] for each in self.about["categories"]]
        self.images: dict[Id, ImageEntry] = {each["id"]: each for each in self._read("images")}
        self._maps: dict[str, dict[Id, _Map]] = {}
        self._found: dict[Id, list[_Found]] = defaultdict(list)
        for kind in self.about["kinds"]:
            content = self._read(kind)
            if kind == "instance":
                for one in content:
                    self._found[one["image_id"]].append(one)
            else:
                self._maps[kind] = {each["image_id"]: each for each in content.annotations}
                self._check_maps(kind)
        self._class_of_label = np.full(max(self.about["none"], *self.labels) + 1, BACKGROUND)
        self._class_of_label[self.labels] = np.arange(len(self.labels))

    @property
    def name(self) -> str:
        """The folder of the run, or this folder where it lies elsewhere."""
        inside = self.folder.absolute()
        return inside.parents[1].name if inside.parent.name == FOLDER else inside.name

    def _read(self, what: str) -> Any:
        path = self.folder / f"{what}.json"
        content = read_typed(path, _SCHEMAS[what], AGAIN)
        if file_sha256(path) != self.about["files"].get(path.name):
            raise ValueError(f"{path}: {CHANGED}")
        return content

    def _check_maps(self, kind: str) -> None:
        paths = [self.map_path(kind, image) for image in self._maps[kind]]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise FileNotFoundError(
                f"{missing[0]} does not exist: {len(missing)} of {len(paths)} PNGs are missing: "
                f"{AGAIN}"
            )

    def map_path(self, kind: str, image: Id) -> Path:
        """The PNG of an image, of "panoptic" or "semantic" predictions."""
        return self.folder / kind / self._maps[kind][image]["file_name"]

    def size(self, image: Id) -> tuple[int, int]:
        """(H, W) of an image's predictions."""
        return self.images[image]["height"], self.images[image]["width"]

    def output(self, image: Id) -> dict[str, Any]:
        """What the model answered to an image, of the kinds that were kept.

        Returns: panoptic_seg, instances, semantic_labels, as evaluators take them.
        Raises: ValueError naming a PNG that is damaged or was changed.
        """
        makers = {
            "panoptic": ("panoptic_seg", self._panoptic),
            "instance": ("instances", self._instances),
            "semantic": ("semantic_labels", self._labels),
        }
        chosen = [makers[kind] for kind in self.about["kinds"]]
        return {key: make(image) for key, make in chosen}

    def segments(self, image: Id) -> list[dict[str, Any]]:
        """Id, category_id (class index), isthing and area of an image's panoptic segments."""
        return [
            {**segment, "category_id": self.class_of[segment["category_id"]]}
            for segment in self._maps["panoptic"][image]["segments_info"]
        ]

    def _panoptic(self, image: Id) -> tuple[torch.Tensor, list[dict[str, Any]]]:
        ids_HW = ids_of_rgb(read_panoptic_png(self._unchanged("panoptic", image)))
        return torch.from_numpy(ids_HW), self.segments(image)

    def _instances(self, image: Id) -> Instances:
        height, width = self.size(image)
        entries = self._found[image]
        masks = [coco_mask.decode(one["segmentation"]) for one in entries]
        found = Instances((height, width))
        stacked_NHW = np.array(masks, dtype=bool).reshape(-1, height, width)
        found.pred_masks = torch.from_numpy(stacked_NHW)
        found.scores = torch.tensor([one["score"] for one in entries], dtype=torch.float64)
        classes = [self.class_of[one["category_id"]] for one in entries]
        found.pred_classes = torch.tensor(classes, dtype=torch.int64)
        return found

    def _labels(self, image: Id) -> torch.Tensor:
        values_HW = read_label_png(self._unchanged("semantic", image))
        return torch.from_numpy(self._class_of_label[values_HW])

    def _unchanged(self, kind: str, image: Id) -> Path:
        """The PNG of an image. Raises: ValueError if it is not the one that was written."""
        path = self.map_path(kind, image)
        if file_digest(path) != self._maps[kind][image]["digest"]:
            raise ValueError(f"{path}: {CHANGED}")
        return path
