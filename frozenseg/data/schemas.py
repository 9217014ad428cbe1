"""What the annotation files, indices and records on disk look like, as types.

`frozenseg.files.read_typed` checks a file against its type and names the first place that differs;
entries that are not named here are left out. What a type cannot say (ranges, ids that must fit) is
checked beside each reader, and becomes a finding.
Formats: https://cocodataset.org/#format-data, sections 1 and 4; https://www.lvisdataset.org/dataset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from typing_extensions import NotRequired, TypedDict

from frozenseg.data.reading import DAMAGED, require_file
from frozenseg.files import read_typed

Id = int | str
Number = int | float
Polygon = np.ndarray[Any, np.dtype[np.float64]]  # x, y, x, y, ... in pixels
Length = Annotated[int, Meta(ge=1)]  # a height, a width or a number of things
Flag = bool | Annotated[int, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Box = Annotated[list[float], Meta(min_length=4, max_length=4)]  # x, y, width, height in pixels


class RunLengths(TypedDict):
    """COCO's RLE: runs of zeros and ones in turn, column by column; size is (height, width)."""

    size: Annotated[list[int], Meta(min_length=2, max_length=2)]
    counts: str | list[int]


class ImageEntry(TypedDict):
    """An entry of `images`; LVIS has `coco_url` and the two lists, all others `file_name`."""

    id: Id
    height: Length
    width: Length
    file_name: NotRequired[str]
    coco_url: NotRequired[str]
    neg_category_ids: NotRequired[list[int]]
    not_exhaustive_category_ids: NotRequired[list[int]]


class CategoryEntry(TypedDict):
    """An entry of `categories`; `frequency` is LVIS'."""

    id: int
    name: str
    isthing: NotRequired[Flag | None]
    frequency: NotRequired[str]


class SegmentEntry(TypedDict):
    """A segment of a panoptic map."""

    id: int
    category_id: int
    area: Number
    iscrowd: NotRequired[Flag]
    bbox: NotRequired[Box]


class MapEntry(TypedDict):
    """The annotation of an image: its panoptic map and the segments in it."""

    image_id: Id
    file_name: str
    segments_info: list[SegmentEntry]


class ObjectEntry(TypedDict):
    """An annotated object; without `segmentation` it has a box only."""

    id: NotRequired[Id]
    image_id: Id
    category_id: int
    bbox: Box
    segmentation: NotRequired[list[Polygon] | RunLengths | None]
    area: NotRequired[Number]
    iscrowd: NotRequired[Flag]


class PanopticFile(msgspec.Struct):
    """A COCO panoptic annotation file."""

    images: list[ImageEntry]
    annotations: list[MapEntry]
    categories: list[CategoryEntry] = []


class InstanceFile(msgspec.Struct):
    """A COCO or LVIS instance annotation file."""

    images: list[ImageEntry]
    annotations: list[ObjectEntry]
    categories: list[CategoryEntry] = []


class CategoryFile(msgspec.Struct):
    """Of any annotation file its categories; the rest is not kept in memory."""

    categories: list[CategoryEntry] = []


class NamedImage(TypedDict):
    """What results of an image are filed under."""

    id: int
    file_name: str


class ImageNames(msgspec.Struct):
    """Of any annotation file the names and ids of its images."""

    images: list[NamedImage]


class EpisodeEntry(TypedDict):
    """An image of an index of episodes (`episodes.EpisodeImage`)."""

    image: str
    labels: str
    width: Length
    height: Length
    pixels: dict[int, Count]


class EpisodesFile(msgspec.Struct):
    """An index of episodes."""

    format: int
    images: list[EpisodeEntry]


class Place(NamedTuple):
    """Where the proposals of an image are: shard, first byte and bytes in it; and what they are."""

    shard: Count
    offset: Count
    length: Count
    height: Length
    width: Length
    masks: Count


class ProposalIndex(msgspec.Struct):
    """`index.json` of a folder of proposals."""

    format: str
    version: int
    complete: bool
    source: dict[str, Any]
    shard_size: Length
    failures: dict[str, str]
    images: dict[str, Place | None]


class ProposalEntry(TypedDict):
    """A proposal of an image."""

    segmentation: RunLengths
    area: NotRequired[Number]
    predicted_iou: NotRequired[Number]
    stability_score: NotRequired[Number]


class ProposalRecord(TypedDict):
    """A line of a shard of proposals: either an error, or all others."""

    image: str
    error: NotRequired[str]
    sha256: NotRequired[str]
    height: NotRequired[Length]
    width: NotRequired[Length]
    masks: NotRequired[list[ProposalEntry]]


File = TypeVar("File", PanopticFile, InstanceFile, CategoryFile)


def read_annotations(path: Path, kind: type[File], remedy: str = "", repair: str = DAMAGED) -> File:
    """A COCO annotation file; polygons are float64 arrays, a fifth of the memory of lists.

    Args: remedy, repair: what to do about a file that is missing, and about a wrong one.
    Raises: FileNotFoundError; ValueError with the place for a file of another structure.
    """
    require_file(path, remedy)
    wanted = kind.__name__.removesuffix("File").lower()
    order = f"{repair} (a COCO {wanted} annotation file is expected)"
    content: File = read_typed(path, kind, order, _polygon)
    return content


def _polygon(_type: type, value: Any) -> NDArray[np.float64]:
    if type(value) is not list or not set(map(type, value)) <= {int, float}:
        raise ValueError("Expected a list of numbers (x, y, x, y, ...)")
    try:
        return np.array(value, np.float64)
    except OverflowError:
        raise ValueError("Number out of range") from None
