"""Tables of a report: cells of numbers, words and elements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from frozenseg.reporting.elements import Element, element

ABSENT = "–"


def table(
    headers: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "", *, sorts: bool = False
) -> Element:
    """A table that scrolls where it is wider than the page. Rows: see `cell`.

    Args: sorts: a click on a header sorts; a long table then scrolls by itself.
    """
    cells = [[cell(value) for value in row] for row in rows]
    shades = [None] * len(headers) if not cells else [each.get("class") for each in cells[0]]
    heads = [
        element("th", text, scope="col", class_=shade)
        for text, shade in zip(headers, shades, strict=True)
    ]
    content = element(
        "table",
        element("thead", element("tr", heads)),
        element("tbody", [element("tr", row) for row in cells]),
        class_="sortable" if sorts else None,
    )
    rolled = element("div", content, class_="scroll tall" if sorts else "scroll")
    return element("div", element("p", caption, class_="soft") if caption else None, rolled)


def cell(value: Any) -> Element:
    """A cell: floats with two decimals, whole numbers, words, elements; None is a dash."""
    if isinstance(value, Element):
        return value if value.tag == "td" else element("td", value)
    if value is None:
        return element("td", ABSENT, data_value="")
    if isinstance(value, bool):
        value = "yes" if value else "no"
    if not isinstance(value, (int, float)):
        return element("td", str(value), class_="text")
    return element(
        "td", f"{value:.2f}" if isinstance(value, float) else str(value), data_value=value
    )


def difference(value: float | None) -> Element:
    """A cell with the sign, in the colour of better or worse."""
    if value is None:
        return cell(None)
    return element("td", signed(value), data_value=value)


def signed(value: float) -> Element:
    """Points with their sign."""
    shade = "better" if value > 0 else "worse" if value < 0 else None
    return element("span", f"{value:+.2f}", class_=shade)


def minus(second: float | None, first: float | None) -> float | None:
    """The difference of two scores, None unless there are both."""
    return None if second is None or first is None else second - first
