"""HTML and SVG as trees of elements: whatever text is put into one is escaped when it is written.

The page loads nothing: its policy forbids every request, and every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias
from xml.etree import ElementTree

Element = ElementTree.Element
Content: TypeAlias = "str | Element | Iterable[Content] | None"
FOLDER = Path(__file__).parent
LANGUAGE = "en"


def element(tag: str, *content: Content, **attributes: object) -> Element:
    """An element with text and elements in it; None is left out, lists are put in one by one.

    Args: attributes: `class_` is class, `data_value` data-value; None is left out.
    """
    made = Element(
        tag,
        {
            name.rstrip("_").replace("_", "-"): str(value)
            for name, value in attributes.items()
            if value is not None
        },
    )
    _put(made, content)
    return made


def _put(parent: Element, content: Content) -> None:
    if content is None:
        return
    if isinstance(content, Element):
        parent.append(content)
    elif isinstance(content, str):
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + content
        else:
            parent.text = (parent.text or "") + content
    else:
        for part in content:
            _put(parent, part)


def page(title: str, *content: Content) -> str:
    """A whole HTML page with the style and the script of this folder inside."""
    style, script = ((FOLDER / name).read_text("utf-8") for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = "img-src data:; style-src 'unsafe-inline'"
    policy = f"default-src 'none'; {allowed}; script-src 'sha256-{digest}'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    root = element(
        "html", head, element("body", *content, element("script", script)), lang=LANGUAGE
    )
    return (
        "<!doctype html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"
    )
