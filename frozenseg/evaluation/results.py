"""results.json: the scores of a run together with the protocol that they were measured under.

{"format": 1, "results": [entry, ...], "skipped": {dataset: reason}}, one entry per dataset:
benchmark, dataset, split, images,
metrics: {"panoptic" | "instance" | ...: {group: {score: percent}}, "semantic": ...}, where a group
    is all, things, stuff, seen, unseen, rare, ... and "per_class" holds every class; AP on the
    benchmark's own instance annotation is "instance_official" where there are two of them,
protocol (vocabulary, templates, ensemble, thresholds, sizes, ground truth), config_hash,
checkpoint, checkpoint_hash, versions, seed, seconds.
"""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate
from typing_extensions import NotRequired, TypedDict

from frozenseg.files import check_typed, flatten, read_json, write_json

FORMAT = 1
PACKAGES = (
    "frozenseg",
    "torch",
    "detectron2",
    "open_clip_torch",
    "timm",
    "numpy",
    "panopticapi-lite",
    "pycocotools",
)
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


# A score, or scores by group and class; what depends on the kind of evaluation is deeper.
_Score = float | str | list[Any] | None
_Scores = dict[str, _Score | dict[str, _Score | dict[str, _Score | dict[str, Any]]]]


class _Entry(TypedDict):
    """What readers take for granted of an entry."""

    dataset: str
    images: int
    metrics: dict[str, _Scores]
    seconds: NotRequired[float]
    benchmark: NotRequired[str]
    split: NotRequired[str]
    protocol: NotRequired[dict[str, Any]]
    versions: NotRequired[dict[str, Any]]


class _Results(TypedDict):
    """results.json."""

    results: list[_Entry]
    skipped: NotRequired[dict[str, str]]


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that scores can depend on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_results(
    path: Path, entries: Iterable[Mapping[str, Any]], skipped: Mapping[str, str] | None = None
) -> None:
    """Writes results.json under a temporary name, then renames; NaN scores become null.

    Args: skipped: datasets without an entry -> the reason.
    """
    content: dict[str, Any] = {"format": FORMAT, "results": [_plain(entry) for entry in entries]}
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
    check_typed(content, _Results, str(path), remedy)
    return dict(content)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
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
        if row.get("classes", 1) and row.get(score) is not None
    }


def format_table(entry: Mapping[str, Any]) -> str:
    """The scores of one entry as text: one row per group of classes."""
    metrics = entry["metrics"]
    columns = {name: values for name in COLUMNS if (values := column(metrics, name))}
    groups = list(dict.fromkeys(group for values in columns.values() for group in values))
    rows = [[group, *(values.get(group, "") for values in columns.values())] for group in groups]
    what = "items" if "episodes" in metrics else "images"
    title = f"{entry['dataset']}: {entry['images']} {what}, {entry['seconds']:.0f} s"
    table = tabulate(rows, headers=["classes", *columns], floatfmt=".2f", tablefmt="github")
    semantic = metrics.get("semantic")
    extra = ""
    if semantic:
        extra = f"\nfwIoU {semantic['fwIoU']:.2f}, pixel accuracy {semantic['pixel_accuracy']:.2f}"
    return f"{title}\n{table}{extra}"


def overview_table(entries: Iterable[Mapping[str, Any]]) -> str:
    """One row per entry with its scores over all classes; APr of LVIS comes last."""
    rows = []
    for entry in entries:
        scores = {name: column(entry["metrics"], name) for name in COLUMNS}
        row = {name: values["all"] for name, values in scores.items() if "all" in values}
        if "rare" in scores["AP"]:
            row["APr"] = scores["AP"]["rare"]
        rows.append((entry["dataset"], entry["images"], row))
    names = [name for name in (*COLUMNS, "APr") if any(name in row for *_, row in rows)]
    lines = [[name, images, *(row.get(key, "") for key in names)] for name, images, row in rows]
    headers = ["dataset", "images", *names]
    return str(tabulate(lines, headers=headers, floatfmt=".2f", tablefmt="github"))
