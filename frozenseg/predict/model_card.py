"""The model card (README.md) of a model folder, made from its manifest alone."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping
from typing import Any

from frozenseg.files import flatten
from frozenseg.predict.model_manifest import Manifest

CARD_MARK = "<!-- save_pretrained made this page and will again, unless you remove this line -->"
# As authors state a licence -> the hub's name of it.
_LICENCES = {name.casefold(): name.lower() for name in ("Apache-2.0", "MIT", "CC-BY-NC-4.0")}
# Column -> where results.json has the score of all classes.
_SCORES = {
    "PQ": "panoptic/all/PQ",
    "SQ": "panoptic/all/SQ",
    "RQ": "panoptic/all/RQ",
    "AP": "instance/all/AP",
    "mIoU": "semantic/ground_truth/all/mIoU",
    "mIoU of items": "episodes/mIoU",
}
_SHOWN = 20  # words
_FACTS = ("test_size", "templates", "words", "trained_on", "thresholds", "ensemble")


def card_text(manifest: Manifest) -> str:
    """The card as Markdown, with the hub's metadata first."""
    config = manifest.config
    head = {
        "license": _common_licence([part.licence for part in manifest.parts]),
        "library_name": "frozenseg",
        "pipeline_tag": "image-segmentation",
        "tags": ["open-vocabulary-segmentation"],
    }
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in head.items()),
        "---",
        CARD_MARK,
        "",
        f"# {_plain(manifest.name)}",
        "",
        f"Open-vocabulary segmentation: {config['MODEL.META_ARCHITECTURE']} of frozenseg. Task: "
        f"{manifest.task}, where a call says none. Words can be any; nothing is downloaded besides "
        "this folder, and nothing in it is run.",
        "",
        "```python",
        "import frozenseg",
        "",
        'segmenter = frozenseg.load("FOLDER")  # or "hf:OWNER/NAME@REVISION"',
        'segmentation = segmenter("photo.jpg", "cat, kitten; dog; sky:stuff")',
        "```",
        "",
        f"- {_words('Trained on', manifest.train_vocabulary)}",
        f"- {_words('Words where a call gives none:', manifest.vocabulary)}",
        f"- Test images: shortest side {config['INPUT.MIN_SIZE_TEST']} pixels, longest at most "
        f"{config['INPUT.MAX_SIZE_TEST']}.",
        "",
        "## Weights and licences",
        "",
        *_table(
            ("part", "weights", "from", "licence"),
            ((part.part, part.weights, part.source, part.licence) for part in manifest.parts),
        ),
        "",
        *_scores(manifest.scores),
        "## Saved with",
        "",
        ", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
        "",
    ]
    return "\n".join(lines)


def _common_licence(stated: Iterable[str]) -> str:
    """The hub's name of the licence that all parts have; "other": the card's table says which."""
    known = {_LICENCES.get(text.casefold(), "other") for text in stated}
    return known.pop() if len(known) == 1 else "other"


def _words(what: str, rows: list[dict[str, Any]]) -> str:
    shown = ", ".join(str(row["name"]) for row in rows[:_SHOWN])
    return _plain(f"{what} {len(rows)} classes: {shown}{', ...' if len(rows) > _SHOWN else ''}")


def _scores(entries: list[dict[str, Any]]) -> list[str]:
    if not entries:
        return []
    found = [dict(flatten(entry["metrics"], separator="/")) for entry in entries]
    columns = {
        name: way
        for name, way in _SCORES.items()
        if any(isinstance(scores.get(way), float) for scores in found)
    }
    rows = [
        (entry["dataset"], entry.get("images", ""), *(_percent(scores.get(w)) for w in ways))
        for ways in [columns.values()]
        for entry, scores in zip(entries, found, strict=True)
    ]
    protocols = [
        f"- {_plain(entry['dataset'])}: {_plain(_facts(entry['protocol']))}" for entry in entries
    ]
    return [
        "## Scores",
        "",
        *_table(("dataset", "images", *columns), rows),
        "",
        "In percent, over all classes. Measured under (`frozenseg.json` has the whole protocol):",
        "",
        *protocols,
        "",
    ]


def _facts(protocol: Mapping[str, Any]) -> str:
    return "; ".join(f"{key} {json.dumps(protocol[key])}" for key in _FACTS if key in protocol)


def _percent(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, (int, float)) else "-"


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> list[str]:
    cells = [[_plain(cell) for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{'---|' * len(cells[0])}", *lines[1:]]


def _plain(text: object) -> str:
    """Text as it is in Markdown: one line, no markup."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return "".join(f"\\{each}" if each in "|*_`[]\\" else each for each in line)
