"""Scores that authors published, and which of ours stand beside them.

The figures are data: published.json, each with its source. They are those of the headers in
configs/; figures that were not checked are not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from frozenseg.evaluation.results import column

FILE = Path(__file__).with_name("published.json")
# Published score -> columns of ours that may stand beside it, the best match first.
MATCHES = {
    "PQ": ("PQ",),
    "AP": ("AP, Cityscapes", "AP, official", "AP"),
    "mIoU": ("mIoU",),
}


class Published(NamedTuple):
    """A published model: its name, what it is, scores of benchmarks, and how they were measured.

    `scores` is {benchmark: {score: {"value": percent, "source": key of `sources`, ...}}}.
    """

    name: str
    architecture: str
    clip: str
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]]
    protocol: Mapping[str, Any]
    sources: Mapping[str, str]

    def source(self, benchmark: str, score: str) -> str:
        """Where a figure stands."""
        return self.sources[self.scores[benchmark][score]["source"]]


def published_models() -> tuple[Published, ...]:
    """All of published.json."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        Published(
            model["name"],
            model["architecture"],
            model["clip"],
            model["scores"],
            content["protocol"],
            content["sources"],
        )
        for model in content["models"]
    )


def published_model(name: str) -> Published:
    """The model of a name such as "fcclip/r50". Raises: ValueError that lists the known ones."""
    models = {model.name: model for model in published_models()}
    if name not in models:
        raise ValueError(f"no published scores of {name!r}; there are {', '.join(models)}")
    return models[name]


def published_of(entry: Mapping[str, Any]) -> Published | None:
    """The published model that an entry's protocol says it is; None if there is none."""
    model = entry.get("protocol", {}).get("model", {})
    key = (model.get("architecture"), model.get("clip"))
    found = (one for one in published_models() if (one.architecture, one.clip) == key)
    return next(found, None)


def measured(entry: Mapping[str, Any], score: str) -> tuple[str, float] | None:
    """(column, percent over all classes) of ours beside a published score; None if not scored."""
    for name in MATCHES[score]:
        values = column(entry["metrics"], name)
        if "all" in values:
            return name, values["all"]
    return None
