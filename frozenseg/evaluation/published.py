"""Scores that authors published, and the columns of ours to compare them with.

The figures are data, each with its source: published.json has those of mask classification, which
the headers of configs/ repeat; published_episodes.json has Fusioner's, under the labels that
its authors print. Figures that were not checked are not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from frozenseg.evaluation.results import COLUMNS, column, scored_groups

FILE = Path(__file__).with_name("published.json")
EPISODES_FILE = Path(__file__).with_name("published_episodes.json")
FAMILY = "fusioner/"  # before a label of published_episodes.json
ITEMS_MIOU = "mIoU of items"
# Published score -> columns of ours to compare it with, the best match first.
MATCHES = {
    "PQ": ("PQ",),
    "AP": ("AP, Cityscapes", "AP, official", "AP"),
    "mIoU": ("mIoU",),
    ITEMS_MIOU: (ITEMS_MIOU,),
    "FB-IoU": ("FB-IoU",),
}


class Published(NamedTuple):
    """A published model: its name, what it is, scores of benchmarks, and how they were measured.

    Attributes:
        name: config without ".yaml", or "fusioner/" and the label that its authors print.
        clip: its CLIP; "" for Fusioner.
        protocol: how it was measured: that of all, with what its own row says otherwise.
        scores: {benchmark: {score: {"value": percent, "source": key of `sources`, ...}}}. A figure
            with "folds" and "split" is the mean over so many folds of a benchmark.
        model: Fusioner's method, visual and language encoder; {} for others, and where the label
            does not tell or is of other encoders than this project has.
    """

    name: str
    architecture: str
    clip: str
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]]
    protocol: Mapping[str, Any]
    sources: Mapping[str, str]
    model: Mapping[str, str] = MappingProxyType({})


def published_models() -> tuple[Published, ...]:
    """Those of published.json."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        Published(
            **{**model, "protocol": {**content["protocol"], **model.get("protocol", {})}},
            sources=content["sources"],
        )
        for model in content["models"]
    )


def published_pairings() -> tuple[Published, ...]:
    """Those of published_episodes.json: means over the folds' held-out classes."""
    content = json.loads(EPISODES_FILE.read_text(encoding="utf-8"))
    mean = {"source": "paper", "folds": content["folds"], "split": content["split"]}
    return tuple(
        Published(
            FAMILY + row["label"],
            "Fusioner",
            "",
            {name: {ITEMS_MIOU: {"value": value, **mean}} for name, value in row["mIoU"].items()},
            _protocol(content, row),
            {"paper": content["source"]},
            row.get("model", {}),
        )
        for row in content["rows"]
    )


def _protocol(content: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a row's protocol: the templates are those of CLIP's towers."""
    protocol = {**content["protocol"], "items": content["items"]}
    if not row.get("model", {}).get("language", "").startswith("clip"):
        del protocol["templates"]
    return protocol


def published_model(name: str) -> Published:
    """The model of a name such as "fcclip/r50". Raises: ValueError that lists the known ones."""
    models = {model.name: model for model in (*published_models(), *published_pairings())}
    if name not in models:
        raise ValueError(f"no published scores of {name!r}; there are {', '.join(models)}")
    return models[name]


def published_of(entry: Mapping[str, Any]) -> Published | None:
    """The published model that an entry's protocol says it is; None if there is none.

    Of two rows with the same encoders the one that the paper compares with other methods, which
    has more figures.
    """
    protocol = entry.get("protocol", {})
    model = protocol.get("model", {})
    if model.get("architecture") == "Fusioner":
        pairs = (one for one in published_pairings() if one.model)
        return next((one for one in pairs if one.model.items() <= model.items()), None)
    key = (model.get("architecture"), model.get("clip"), _parts(protocol))
    for one in published_models():
        if (one.architecture, one.clip, _parts(one.protocol)) == key:
            return one
    return None


def _parts(protocol: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which SAM's features take part, and whether other pooling and content-dependent text do."""
    sam = (protocol.get("sam_injection") or {}).get("sam")
    parts = ("mask_adapter", "mask_pooling", "content_text")
    return sam, *(bool(protocol.get(key)) for key in parts)


def measured(entry: Mapping[str, Any], score: str) -> tuple[str, float | None] | None:
    """(column, percent over all classes) of ours beside a published score; None if not measured.

    The percent is None where there was nothing to score.
    """
    found = {name: column(entry["metrics"], name).get("all") for name in MATCHES[score]}
    for name, value in found.items():
        if value is not None:
            return name, value
    tried = (
        name
        for name in found
        if COLUMNS[name][1] in scored_groups(entry["metrics"], name).get("all", {})
    )
    return next(((name, None) for name in tried), None)
