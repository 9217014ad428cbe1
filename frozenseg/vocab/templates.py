"""Prompt templates: texts with one "{}" where a class name is put.

"vild_14" are the 14 prompts, wording and order, that the released models of this family were
trained with. Source: ViLD, arXiv:2104.13921; FC-CLIP, arXiv:2308.02487.

"fusioner_32" are 32 prompts of the families that Fusioner used with CLIP's text towers: photo, bad,
cropped and masked photo, three sizes, "this is one", each with and without "in the scene". The
families are the paper's, the wording of each prompt is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from frozenseg.vocab.class_lists import read_text

_SIZES = ("small", "medium", "large")

# (kind of photo, size of the thing)
_VIEWS = (
    *((f"{kind}photo", "") for kind in ("", "bad ", "cropped ", "masked ")),
    *(("photo", f"{size} ") for size in _SIZES),
)

TEMPLATE_SETS: dict[str, tuple[str, ...]] = {
    "simple": ("a photo of a {}.",),
    "vild_14": (
        "a photo of a {}.",
        "This is a photo of a {}",
        "There is a {} in the scene",
        "There is the {} in the scene",
        "a photo of a {} in the scene",
        *(f"a photo of a {size} {{}}." for size in _SIZES),
        *(f"This is a photo of a {size} {{}}." for size in _SIZES),
        *(f"There is a {size} {{}} in the scene." for size in _SIZES),
    ),
    "fusioner_32": tuple(
        f"{prompt}{place}."
        for place in ("", " in the scene")
        for prompt in (
            *(f"a {photo} of a {size}{{}}" for photo, size in _VIEWS),
            *(f"a {photo} of the {size}{{}}" for photo, size in _VIEWS),
            "this is a {}",
            "this is one {}",
        )
    ),
}


def get_templates(name: str) -> tuple[str, ...]:
    """The template set `name`, or the templates of the text file of that name (*.txt).

    Raises: ValueError for an unknown name or a bad template, FileNotFoundError.
    """
    if name in TEMPLATE_SETS:
        return TEMPLATE_SETS[name]
    if name.endswith(".txt"):
        return read_templates(name)
    known = ", ".join(sorted(TEMPLATE_SETS))
    raise ValueError(f"unknown template set {name!r}; use one of {known}, or a .txt file")


def read_templates(path: str | Path) -> tuple[str, ...]:
    """Templates from a text file, one per line; empty lines and lines that begin with # excepted.

    Raises: ValueError naming file and line if a template has not exactly one "{}" or is repeated.
    """
    first: dict[str, int] = {}
    for number, line in enumerate(read_text(Path(path)).splitlines(), 1):
        template = line.strip()
        if not template or template.startswith("#"):
            continue
        if template.count("{}") != 1:
            raise ValueError(
                f"{path}:{number}: a template needs exactly one {{}} for the class name, "
                f"got {template!r}"
            )
        if first.setdefault(template, number) != number:
            raise ValueError(f"{path}:{number}: the template of line {first[template]} again")
    if not first:
        raise ValueError(f"{path}: no template in the file; write one per line")
    return tuple(first)


def fill_templates(templates: Sequence[str], name: str) -> list[str]:
    """The prompts for one name, in the order of the templates."""
    return [template.replace("{}", name) for template in templates]
