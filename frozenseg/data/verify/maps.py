"""Reads single images with their masks and says what is wrong with them.

Legend: H and W pixels, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.catalog.split import DatasetSplit, Origin
from frozenseg.data.episodes import describe
from frozenseg.data.findings import Report
from frozenseg.data.panoptic_pixels import compare_segments
from frozenseg.data.reading import (
    check_one_channel,
    exif_advice,
    exif_orientation,
    hex_of_color,
    ids_of_rgb,
    read_color_map,
    read_image,
    read_panoptic_png,
    read_values,
)
from frozenseg.data.samples import Sample

SIZES_DIFFER = "an image and its mask (or annotation) have different sizes"
CITYSCAPES_INSTANCES = range(24, 34)  # label ids of the classes with instances
MASK_VALUES = ("the indices 0, 1, ...", "the ids", "the colours")
MANY = 10  # so many files without an ignored pixel are suspicious where most files have some


@dataclass
class MapChecker:
    """Checks samples of a row one by one, then what only all of them together show.

    Attributes:
        names: of the classes, by the values that semantic masks have for them.
        complete: the samples are all that there are.
        allow_empty: an annotation without a labelled pixel is not a finding.
    """

    row: DatasetSplit
    report: Report
    names: Mapping[int, str]
    complete: bool = True
    allow_empty: bool = False
    labels: set[int] = field(default_factory=set)
    maps: int = 0
    maps_with_ignored: int = 0
    pixels: int = 0
    ignored: int = 0

    @property
    def values(self) -> frozenset[int]:
        """What semantic masks may hold besides `row.ignore_label`."""
        return frozenset(self.names)

    @property
    def origin(self) -> Origin:
        """What to do about the files of the row."""
        return self.row.origin

    def check(self, sample: Sample) -> None:
        """Reads the files of a sample; a file that cannot be read is a finding, no exception."""
        size: tuple[int, ...] | None = sample.size
        try:
            shape = read_image(sample.image, self.row.exif).shape[:2]
        except (ValueError, OSError) as error:
            self._unreadable(error, self.origin.download)
        else:
            order = exif_advice(sample.image, shape, size or shape)
            self._compare(sample.image, shape, size, "its annotation says", order)
            self._orientation(sample.image, shape, size)
            size = size or shape
        for path, check in (
            (sample.panoptic, self._panoptic),
            (sample.semantic, self._semantic),
            (sample.instances, self._instances),
        ):
            if path is None:
                continue
            try:
                found = check(path, sample)
            except (ValueError, OSError) as error:
                self._unreadable(error, self.origin.completion)
            else:
                order = exif_advice(sample.image, size, found) if size else ""
                self._compare(path, found, size, "its image is", order)

    def finish(self) -> None:
        """What can be said after the last sample."""
        unshifted = (
            self.origin.labels_start_at_one and not self.maps_with_ignored and self.maps >= MANY
        )
        if unshifted and self.labels <= self.values:
            self.report.warning(
                f"none of {self.maps} label maps has an ignored pixel ({self.row.ignore_label}), "
                "which most have; the labels may be those of the raw files "
                f"({self.origin.common_mistake})",
                self.origin.repair,
            )

        self._classes()

    def _classes(self) -> None:
        """Warns of what a score of one's own data would not show: classes without a pixel."""
        absent = [name for value, name in sorted(self.names.items()) if value not in self.labels]
        if self.origin.readme_section or not self.complete or not self.pixels or not absent:
            return
        ignored = f"{100 * self.ignored / self.pixels:.1f} % of the pixels are ignored"
        names = ", ".join(absent[:8]) + (", ..." if absent[8:] else "")
        problem = f"{len(absent)} of {len(self.names)} classes occur nowhere; {ignored}"
        kind = 2 if self.row.label_colors else self.row.labels_are_ids
        label = "ignore_colors" if kind == 2 else f"ignore_label ({self.row.ignore_label})"
        order = f"check that the masks hold {MASK_VALUES[kind]} of the classes, and {label}"
        self.report.warning(problem, order, names)
        if len(self.labels) == 1:
            problem = "only one class occurs: its score is 100 whatever else is ignored"
            [only] = self.labels
            self.report.warning(problem, "score another set of images", self.names.get(only, ""))

    def _orientation(
        self, path: Path, shape: tuple[int, ...], size: tuple[int, ...] | None
    ) -> None:
        orientation = exif_orientation(path)
        if orientation == 1:
            return
        order = exif_advice(path, shape, size or shape) or (
            "check that the annotation is of the turned image; otherwise set `exif: ignore` in the "
            "dataset's YAML, or save the images without EXIF data"
        )
        done = "turn" if self.row.exif == "turn" else "would turn"
        problem = f"EXIF data {done} an image"
        self.report.warning(problem, order, f"{path}: orientation {orientation}")

    def _unreadable(self, error: Exception, remedy: str) -> None:
        self.report.error("a file cannot be read", self.origin.redo(remedy), str(error))

    def _compare(
        self,
        path: Path,
        found: tuple[int, ...],
        expected: tuple[int, ...] | None,
        says: str,
        order: str = "",
    ) -> None:
        if expected is None or tuple(found) == tuple(expected):
            return
        sizes = f"is {found[1]}x{found[0]}, {says} {expected[1]}x{expected[0]} (width x height)"
        self.report.error(SIZES_DIFFER, order or self.origin.repair, f"{path}: {sizes}")

    def _panoptic(self, path: Path, sample: Sample) -> tuple[int, ...]:
        rgb = read_panoptic_png(path)
        ids = ids_of_rgb(rgb)
        compared = compare_segments(ids, sample.segments)
        report, remedy = self.report, self.origin.repair
        if compared.unlisted and not _unlisted_if_swapped(rgb, sample.segments):
            problem = "a panoptic map has red and blue swapped, as OpenCV saves an RGB array"
            report.error(problem, "save it with id = R + 256 G + 65536 B", str(path))
            return ids.shape
        for key, count in sorted(compared.unlisted.items()):
            problem = "a panoptic map has a segment that the annotation file lacks"
            problem += self.origin.mistake
            report.error(problem, remedy, f"{path}: id {key}, {count} pixels")
        for key in compared.empty:
            problem = "the annotation file has a segment without pixels"
            report.error(problem, remedy, f"{path}: id {key}")
        for key, area in sorted(compared.wrong_areas.items()):
            problem = "the area of a segment is not its number of pixels"
            where = f"{path}: id {key} has {compared.pixels[key]} pixels, area {area}"
            report.warning(problem, remedy, where)
        if not (compared.pixels or compared.unlisted or compared.empty):
            self._empty(path)
        return ids.shape

    def _semantic(self, path: Path, sample: Sample) -> tuple[int, ...]:
        row, report = self.row, self.report
        if row.label_colors:
            return self._colors(path)
        values, mode = read_values(path)
        check_one_channel(path, values, mode)
        if sample.pixels is not None:
            self._compare_pixels(path, values, sample.pixels)
            return values.shape
        if values.dtype.itemsize == 1 and max(max(self.values), row.ignore_label) > 255:
            problem = f"an 8-bit label map cannot hold {len(self.values)} classes"
            problem += self.origin.mistake
            report.error(problem, row.origin.repair, str(path))
        found = set(_distinct(values))
        ignored = int(np.count_nonzero(values == row.ignore_label))
        self._count(found - {row.ignore_label}, values.size, ignored)
        wrong = sorted(found - self.values - {row.ignore_label})
        if wrong:
            problem = self._range_problem(wrong)
            report.error(problem, row.origin.repair, f"{path}: {_some(wrong)}")
        elif found <= {row.ignore_label}:
            self._empty(path)
        return values.shape

    def _colors(self, path: Path) -> tuple[int, ...]:
        """A mask whose colours are the classes."""
        colors_HW = read_color_map(path)
        index_of = dict(self.row.label_colors)
        colors, counts = np.unique(colors_HW, return_counts=True)
        pixels = dict(zip(colors.tolist(), counts.tolist(), strict=True))
        other = [color for color in pixels if color not in index_of]
        found = {index_of[color] for color in pixels if color in index_of} - {-1}
        ignored = sum(count for color, count in pixels.items() if index_of.get(color) == -1)
        self._count(found, colors_HW.size, ignored)
        if other:
            some = [f"{hex_of_color(color)} ({pixels[color]} pixels)" for color in other[:5]]
            problem = "a mask has a colour of no class"
            order = "add it to the class list or to ignore_colors; save masks without smoothing"
            self.report.error(
                problem, order, f"{path}: {', '.join(some)}{', ...' * bool(other[5:])}"
            )
        elif not found:
            self._empty(path)
        return colors_HW.shape

    def _count(self, labels: set[int], pixels: int, ignored: int) -> None:
        self.maps += 1
        self.pixels += pixels
        self.ignored += ignored
        self.maps_with_ignored += bool(ignored)
        self.labels |= labels

    def _compare_pixels(
        self, path: Path, values_HW: NDArray[np.integer[Any]], listed: dict[int, int]
    ) -> None:
        found = describe("", "", values_HW).pixels
        if found == listed:
            return
        label = min(key for key in found | listed if found.get(key) != listed.get(key))
        counts = f"{found.get(label, 0)} pixels, the index says {listed.get(label, 0)}"
        problem = f"a label map is not what the index of episodes says{self.origin.mistake}"
        self.report.error(problem, self.origin.repair, f"{path}: label {label} has {counts}")

    def _range_problem(self, wrong: list[int]) -> str:
        low, high, ignored = min(self.values), max(self.values), self.row.ignore_label
        text = f"a label is out of range ({low}..{high}, {ignored} ignored){self.origin.mistake}"
        if self.origin.labels_start_at_one and wrong == [high + 1]:
            text += "; these look like the raw files"
        return text

    def _instances(self, path: Path, _sample: Sample) -> tuple[int, ...]:
        """Cityscapes' instanceIds: label ids, or 1000 * label id + number."""
        values, _ = read_values(path)
        found = np.unique(values).astype(np.int64)  # uint8 // 1000 is an error of numpy 2
        classes = set((found[(found >= 1000) & (found < 65535)] // 1000).tolist())
        if values.ndim != 2 or values.dtype.itemsize == 1 or not classes <= {*CITYSCAPES_INSTANCES}:
            problem = f"an instance map does not hold instanceIds{self.origin.mistake}"
            self.report.error(problem, self.origin.download, str(path))
        return values.shape[:2]

    def _empty(self, path: Path) -> None:
        if not self.allow_empty:
            problem = "an annotation is empty: nothing of the image is labelled"
            order = f"{self.origin.repair}; --allow-empty if it is meant so"
            self.report.error(problem, order, str(path))


def _unlisted_if_swapped(rgb: NDArray[np.uint8], segments: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a map would still have ids that its annotation lacks, with red and blue swapped."""
    return bool(compare_segments(ids_of_rgb(rgb[..., ::-1]), segments).unlisted)


def _distinct(values: NDArray[np.integer[Any]]) -> list[int]:
    """The values of a map; counting them is much faster than np.unique's sorting."""
    if values.dtype.kind != "u" or values.dtype.itemsize > 2:
        return [int(value) for value in np.unique(values)]
    return [int(value) for value in np.flatnonzero(np.bincount(values.ravel()))]


def _some(values: list[int]) -> str:
    shown = ", ".join(map(str, values[:8]))
    return f"{'label' if len(values) == 1 else 'labels'} {shown}{', ...' if values[8:] else ''}"
