"""results.json: the scores of a run together with the protocol that they were measured under.

{"format": 1, "results": [entry, ...], "skipped": {dataset: reason}}, one entry per dataset:
benchmark, dataset, split, images,
metrics: {"panoptic" | "instance" | ...: {group: {score: percent}}, "semantic": ...}, where a group
    is all, things, stuff, seen, unseen, rare, ... and "per_class" holds every class; AP on the
    benchmark's own instance annotation is "instance_official" where there are two of them,
protocol (vocabulary, templates, ensemble, thresholds, sizes, ground truth), config_hash,
checkpoint, checkpoint_hash, versions, seed, seconds,
warnings: sentences on what of the ground truth makes scores say less than they seem to,
ignored_pixels: percent of the label maps' pixels, null where there are none,
diagnosis: where the model fails, if asked for: `diagnosis.Diagnosis`.
null among the scores: there was nothing to score.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from tabulate import tabulate
from typing_extensions import NotRequired, TypedDict

from frozenseg.evaluation.diagnosis import Diagnosis
from frozenseg.files import check_typed, flatten, read_json, write_json

FORMAT = 1
COUNTS = ("classes", "items")  # numbers among the scores that are not scores
EPISODES = ("episodes",)  # of items that ask for classes: one row of scores, not one per group
# Column of a table -> the way to its groups below "metrics", and the score's name there.
COLUMNS: dict[str, tuple[tuple[str, ...], str]] = {
    "PQ": (("panoptic",), "PQ"),
    "SQ": (("panoptic",), "SQ"),
    "RQ": (("panoptic",), "RQ"),
    "AP": (("instance",), "AP"),
    "AP50": (("instance",), "AP50"),
    "AP75": (("instance",), "AP75"),
    "AP, official": (("instance_official",), "AP"),
    "AP, Cityscapes": (("cityscapes_instance",), "AP"),
    "recall50": (("regions",), "recall50"),
    "accuracy": (("regions",), "accuracy"),
    # Of SAM's proposals, alone and together with the queries.
    "recall50 of SAM": (("regions_sam",), "recall50"),
    "recall50 with SAM": (("regions_with_sam",), "recall50"),
    "accuracy with SAM": (("regions_with_sam",), "accuracy"),
    "mIoU": (("semantic", "ground_truth"), "mIoU"),
    "mIoU (v0.6)": (("semantic", "ground_truth_or_predicted"), "mIoU"),
    "IoU, Cityscapes": (("cityscapes_semantic",), "IoU"),
    "mIoU of items": (EPISODES, "mIoU"),
    "FB-IoU": (EPISODES, "FB_IoU"),
    "IoU, foreground": (EPISODES, "foreground_IoU"),
    "IoU, background": (EPISODES, "background_IoU"),
}
EPISODE_COLUMNS = tuple(name for name, (way, _) in COLUMNS.items() if way == EPISODES)


_Percent = Annotated[float, Meta(ge=0, le=100 + 1e-6)]  # a mean of 100s may round above
_Mapping = dict[str, Any]


class _Words(TypedDict):
    set: str


class _Protocol(TypedDict, total=False):
    """What a comparison reads of a protocol."""

    model: _Mapping
    words: _Words
    ensemble: _Mapping
    thresholds: _Mapping
    trained_on: list[str]
    sam_injection: _Mapping | None
    mask_ensemble: _Mapping | None


class _Entry(TypedDict):
    """What readers take for granted of an entry; `_check_scores` looks at its metrics."""

    benchmark: str
    dataset: str
    images: Annotated[int, Meta(ge=0)]
    metrics: dict[str, _Mapping]
    protocol: _Protocol
    diagnosis: NotRequired[Diagnosis]
    seconds: NotRequired[float]
    split: NotRequired[str]
    versions: NotRequired[_Mapping]
    warnings: NotRequired[list[str]]


class _Results(TypedDict):
    """results.json."""

    results: list[_Entry]
    skipped: NotRequired[dict[str, str]]


def write_results(
    path: Path, entries: Iterable[Mapping[str, Any]], skipped: Mapping[str, str] | None = None
) -> None:
    """Writes results.json under a temporary name, then renames; NaN scores become null.

    Args: skipped: datasets without an entry -> the reason.
    """
    content: dict[str, Any] = {"format": FORMAT, "results": [plain(entry) for entry in entries]}
    if skipped:
        content["skipped"] = dict(skipped)
    write_json(path, content, allow_nan=False)


def read_results(path: Path) -> list[dict[str, Any]]:
    """The entries of a results.json. Raises: FileNotFoundError, ValueError."""
    return list(_read(path)["results"])


def read_skipped(path: Path) -> dict[str, str]:
    """Datasets without an entry -> the reason. Raises: the errors of `read_results`."""
    return dict(_read(path).get("skipped", {}))


def _read(path: Path) -> dict[str, Any]:
    remedy = "not a results file of this project; run the evaluation again"
    content = read_json(path, remedy if path.is_file() else "run an evaluation first")
    for entry in check_typed(content, _Results, str(path), remedy)["results"]:
        _check_scores(entry["metrics"], f"{path}: metrics of {entry['dataset']}", remedy)
    return dict(content)


def _check_scores(metrics: dict[str, _Mapping], where: str, remedy: str) -> None:
    """Raises ValueError where a column of `COLUMNS` has anything but percents and null."""
    for way, score in COLUMNS.values():
        groups: Any = metrics
        for key in way:
            groups = check_typed(groups.get(key, {}), _Mapping, f"{where}: {key}", remedy)
        groups = {"all": groups} if way == EPISODES else groups
        rows = check_typed(groups, dict[str, _Mapping], f"{where}: {way[-1]}", remedy)
        for group, row in rows.items():
            value = row.get(score)
            if group != "per_class" and value == value:  # NaN is that of nothing
                place = f"{where}: {way[-1]}: {group}: {score}"
                check_typed(value, _Percent | None, place, remedy)


def plain(value: Any) -> Any:
    """The value as JSON can hold it: NaN and infinite numbers are None, tuples are lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def flat_scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """All finite scores of an entry except those per class: {"panoptic/seen/PQ": 41.0, ...}."""
    found = ((name.split("/"), value) for name, value in flatten(metrics, separator="/"))
    return {
        "/".join(way): value
        for way, value in found
        if "per_class" not in way and way[-1] not in COUNTS
        if value is not None and math.isfinite(value)
    }


def scored_groups(metrics: Mapping[str, Any], name: str) -> dict[str, Mapping[str, Any]]:
    """Group of classes -> scores, below "metrics" where the column `name` of `COLUMNS` is."""
    groups: Mapping[str, Any] = metrics
    for key in COLUMNS[name][0]:
        groups = groups.get(key, {})
    if COLUMNS[name][0] == EPISODES:
        return {"all": groups} if groups else {}
    return {group: row for group, row in groups.items() if group != "per_class"}


def column(metrics: Mapping[str, Any], name: str) -> dict[str, float]:
    """Group of classes -> percent of a column of `COLUMNS`; groups without classes are left out."""
    score = COLUMNS[name][1]
    return {
        group: row[score]
        for group, row in scored_groups(metrics, name).items()
        if row.get("classes", 1) and plain(row.get(score)) is not None
    }


def _shown(metrics: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Column -> group of classes -> percent, None where nothing was scored.

    Columns that the entry does not have are left out, and so are groups without any score but
    "all".
    """
    columns = {name: column(metrics, name) for name in COLUMNS}
    scored = {"all", *(group for values in columns.values() for group in values)}
    shown = {
        name: {
            group: values.get(group)
            for group, row in scored_groups(metrics, name).items()
            if group in scored and COLUMNS[name][1] in row
        }
        for name, values in columns.items()
    }
    return {name: values for name, values in shown.items() if values}


def format_table(entry: Mapping[str, Any]) -> str:
    """The scores of one entry as text: one row per group of classes, then its warnings."""
    metrics = entry["metrics"]
    columns = _shown(metrics)
    groups = list(dict.fromkeys(group for values in columns.values() for group in values))
    rows = [[group, *(values.get(group, "") for values in columns.values())] for group in groups]
    what = "items" if "episodes" in metrics else "images"
    lines = [
        f"{entry['dataset']}: {entry['images']} {what}, {entry['seconds']:.0f} s",
        _table(rows, ["classes", *columns]),
    ]
    semantic = metrics.get("semantic")
    if semantic:
        weighted, accuracy = (_percent(semantic[key]) for key in ("fwIoU", "pixel_accuracy"))
        lines.append(f"fwIoU {weighted}, pixel accuracy {accuracy}")
    ignored = entry.get("ignored_pixels")
    if ignored is not None:
        lines.append(f"pixels without a label, which are not scored: {ignored:.1f} %")
    return "\n".join([*lines, *warning_lines(entry)])


def warning_lines(entry: Mapping[str, Any]) -> list[str]:
    """An entry's warnings for a terminal, each with the dataset's name."""
    return [f"warning: {entry['dataset']}: {text}" for text in entry.get("warnings") or ()]


def overview_table(entries: Iterable[Mapping[str, Any]]) -> str:
    """One row per entry with its scores over all classes; APr of LVIS comes last."""
    rows = []
    for entry in entries:
        shown = _shown(entry["metrics"])
        row = {name: values["all"] for name, values in shown.items() if "all" in values}
        if "rare" in shown.get("AP", {}):
            row["APr"] = shown["AP"]["rare"]
        rows.append((entry["dataset"], entry["images"], row))
    names = [name for name in (*COLUMNS, "APr") if any(name in row for *_, row in rows)]
    lines = [[name, images, *(row.get(key, "") for key in names)] for name, images, row in rows]
    return _table(lines, ["dataset", "images", *names])


def _percent(value: float | None) -> str:
    return "-" if plain(value) is None else f"{value:.2f}"


def _table(rows: list[list[Any]], headers: list[str]) -> str:
    options = {"headers": headers, "floatfmt": ".2f", "missingval": "-", "tablefmt": "github"}
    return str(tabulate(rows, **options))
