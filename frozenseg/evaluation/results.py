"""results.json: the scores of a run together with the protocol that they were measured under.

{"format": 1, "results": [entry, ...]}, one entry per data set:
benchmark, dataset, split, images,
metrics: {"panoptic" | "instance": {group: {score: percent}}, "semantic": ...}, where a group is
    all, things, stuff, seen, unseen, ... and "per_class" holds every class,
protocol (vocabulary, templates, ensemble, thresholds, sizes), config_hash, checkpoint,
checkpoint_hash, versions, seed, seconds.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tabulate import tabulate

from frozenseg.data.atomic import write_atomically

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
COLUMNS = {
    "panoptic": ("PQ", "SQ", "RQ"),
    "instance": ("AP", "AP50", "AP75"),
    "regions": ("recall50", "accuracy"),
}
# Recall of SAM's proposals, alone and together with the queries.
SAM_REGIONS = {"regions_sam": "recall50 of SAM", "regions_with_sam": "recall50 with SAM"}


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that scores can depend on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write_results(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Writes results.json under a temporary name, then renames; NaN scores become null."""
    content = {"format": FORMAT, "results": [_plain(entry) for entry in entries]}
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_results(path: Path) -> list[dict[str, Any]]:
    """The entries of a results.json. Raises: FileNotFoundError, ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: run an evaluation first")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return list(content["results"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a results file of this project ({error})") from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def flat_scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    """All finite scores of an entry but those per class, as {"panoptic/seen/PQ": 41.0, ...}."""
    flat: dict[str, float] = {}

    def collect(prefix: str, node: Mapping[str, Any]) -> None:
        for key, value in node.items():
            if isinstance(value, Mapping):
                if key != "per_class":
                    collect(f"{prefix}{key}/", value)
            elif key != "classes" and math.isfinite(value):
                flat[f"{prefix}{key}"] = value

    collect("", metrics)
    return flat


def format_table(entry: Mapping[str, Any]) -> str:
    """The scores of one entry as text: one row per group of classes."""
    metrics = entry["metrics"]
    columns: dict[str, Mapping[str, Any]] = {}
    for task, names in COLUMNS.items():
        if task in metrics:
            columns |= {name: _column(metrics[task], name) for name in names}
    for task, name in SAM_REGIONS.items():
        if task in metrics:
            columns[name] = _column(metrics[task], "recall50")
    semantic = metrics.get("semantic")
    if semantic:
        columns["mIoU"] = _column(semantic["ground_truth"], "mIoU")
        columns["mIoU (v0.6)"] = _column(semantic["ground_truth_or_predicted"], "mIoU")
    groups = list(dict.fromkeys(group for column in columns.values() for group in column))
    rows = [[group, *(column.get(group, "") for column in columns.values())] for group in groups]
    title = f"{entry['dataset']}: {entry['images']} images, {entry['seconds']:.0f} s"
    table = tabulate(rows, headers=["classes", *columns], floatfmt=".2f", tablefmt="github")
    extra = ""
    if semantic:
        extra = f"\nfwIoU {semantic['fwIoU']:.2f}, pixel accuracy {semantic['pixel_accuracy']:.2f}"
    return f"{title}\n{table}{extra}"


def _column(groups: Mapping[str, Any], score: str) -> dict[str, float]:
    return {
        group: row[score]
        for group, row in groups.items()
        if group != "per_class" and row.get("classes")
    }
