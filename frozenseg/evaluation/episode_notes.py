"""What could explain a difference between our scores of items and published ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from frozenseg.data.benchmark import Benchmark
from frozenseg.data.catalog import row_vocabulary
from frozenseg.evaluation.folds import fold_of
from frozenseg.evaluation.published import Published

# Key of the protocol -> how notes call it.
SETTINGS = {
    "templates": "prompt templates",
    "threshold": "threshold of the probability",
    "window": "sliding window",
}


def episode_notes(entry: Mapping[str, Any], row: Benchmark, published: Published) -> Iterator[str]:
    """What of an entry's protocol differs from the published one, as sentences."""
    protocol, expected = entry["protocol"], published.protocol
    if not row.vocabulary_file and protocol.get("vocabulary") != row_vocabulary(row).digest:
        yield "the words are not the benchmark's class names"
    settings = {**protocol, **protocol.get("model", {})}
    for key, name in SETTINGS.items():
        if key in expected and settings.get(key) != expected[key]:
            yield f"{name}: {settings.get(key)} here, {expected[key]} published"
    fold = fold_of(entry)
    if fold is None:
        return
    own = f"{row.name.removesuffix(fold.kind)}train"
    trained = protocol.get("trained_on", [])
    if trained != [own]:
        here = ", ".join(trained) or "nothing"
        yield f"trained on {here} here; {own} leaves out the classes that this fold holds out"
    items = expected.get("items", {}).get(row.benchmark)
    if items and fold.kind == "val" and entry["images"] != items[fold.number]:
        yield f"{entry['images']} items were scored, the published list has {items[fold.number]}"
    for figure in published.scores.get(row.benchmark, {}).values():
        if figure.get("split") == fold.kind:
            yield (
                f"the published {figure['value']} is the mean of {figure['folds']} folds, each "
                "scored by the model that was trained on its own seen classes"
            )
