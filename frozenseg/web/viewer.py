"""A segmentation as a piece of a web page: picture, names under the pointer, legend.

The browser gets the picture, the overlay and the label map as runs, so that hovering asks the
server nothing, and the ids are exact whatever the browser does to pixels. `viewer.js` reads it.

Legend: H and W pixels.
"""

from __future__ import annotations

import base64
import html
import io
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from frozenseg.predict.segmentation import Segmentation

SMALLEST_SIDE, LARGEST_SIDE = 960, 1280  # of the longer side of the picture on the page
MOST_RATIO = 8  # pictures narrower than this are not enlarged


class LegendRow(NamedTuple):
    """One line of the legend; `share` of the image's pixels that show the segment, 0..1."""

    id: int
    name: str
    color: tuple[int, int, int]
    score: float | None
    share: float
    is_thing: bool


def legend_rows(segmentation: Segmentation) -> list[LegendRow]:
    """The segments, largest first."""
    styles, pixels = segmentation.styles, segmentation.label_map_HW.size
    rows = [
        LegendRow(s.id, s.name, styles[s.id].color, s.score, s.area / pixels, s.is_thing)
        for s in segmentation.segments
    ]
    return sorted(rows, key=lambda row: -row.share)


def view_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) at which the page gets a picture: its longer side is 960 to 1280 pixels."""
    longest = max(height, width)
    wanted = min(max(longest, SMALLEST_SIDE), LARGEST_SIDE)
    if longest > MOST_RATIO * min(height, width):
        wanted = min(longest, LARGEST_SIDE)
    return max(1, round(height * wanted / longest)), max(1, round(width * wanted / longest))


def runs(label_map_HW: NDArray[np.integer[Any]]) -> str:
    """A label map, row after row, as "id,length,id,length,..."; the lengths sum to H * W."""
    flat = label_map_HW.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=flat[0] + 1))
    lengths = np.diff(starts, append=flat.size)
    return ",".join(map(str, np.stack([flat[starts], lengths], axis=1).ravel().tolist()))


def viewer_html(segmentation: Segmentation, status: str) -> str:
    """The picture with its overlay, a line about it, and the legend.

    Args:
        segmentation: knows its image.
        status: what is said above the picture, plain text.
    """
    from frozenseg.resize import nearest_resize

    image_HW3 = segmentation.image_HW3
    if image_HW3 is None:
        raise ValueError("the viewer needs a segmentation that knows its image")
    height, width = view_size(image_HW3.shape[0], image_HW3.shape[1])
    shown_HW3 = resized(image_HW3, height, width)
    label_map_HW = nearest_resize(segmentation.label_map_HW, (height, width))
    rows = legend_rows(segmentation)
    names = {row.id: [row.name, percent_score(row.score)] for row in rows}
    names_text = ", ".join(row.name for row in rows[:20]) or "none"
    return f"""
<p class="fs-status" role="status">{html.escape(status)}</p>
<div class="fs-result" data-names="{html.escape(json.dumps(names), quote=True)}">
<figure class="fs-viewer">
<div class="fs-stage" data-width="{width}" data-height="{height}" data-runs="{runs(label_map_HW)}"
 style="aspect-ratio: {width} / {height}; max-width: calc(72vh * {width / height:.4f})">
<img class="fs-photo" alt="the image" width="{width}" height="{height}" src="{_uri(shown_HW3)}">
<img class="fs-overlay" width="{width}" height="{height}"
 alt="{html.escape(f"the image with its segments: {names_text}", quote=True)}"
 src="{_uri(segmentation.overlay(shown_HW3))}">
<canvas class="fs-light" width="{width}" height="{height}" aria-hidden="true"></canvas>
<div class="fs-tip" hidden></div>
</div>
<figcaption class="fs-bar"><span>Point at or tap a segment to see its name.</span>
<label>Overlay <input class="fs-opacity" type="range" min="0" max="100" value="100"></label>
</figcaption>
</figure>
{legend_html(segmentation, rows)}
</div>"""


def legend_html(segmentation: Segmentation, rows: list[LegendRow]) -> str:
    """The legend: colour, name, score and area of every segment; a press lights one up."""
    if not rows:
        return '<p class="fs-none">No segments: try other words, or a lower score threshold.</p>'
    lines = [_legend_line(row) for row in rows]
    empty = float((segmentation.label_map_HW == 0).mean())
    if empty > 0:
        lines.append(
            '<li class="fs-rest"><span class="fs-color"></span><span class="fs-name">no segment'
            f'</span><span></span><span class="fs-area">{percent(empty)}</span></li>'
        )
    return (
        '<section class="fs-legend" aria-label="Legend"><div class="fs-head" aria-hidden="true">'
        "<span></span><span>Segment</span><span>Score</span><span>Area</span></div>"
        f"<ul>{''.join(lines)}</ul></section>"
    )


def percent(share: float) -> str:
    """A share of the image with one decimal; a small one is not called zero."""
    return "<0.1 %" if 0 < share < 0.0005 else f"{100 * share:.1f} %"


def percent_score(score: float | None) -> str:
    """A score with two decimals; a dash where the task gives none."""
    return "–" if score is None else f"{score:.2f}"


def message_html(message: str, *, is_error: bool = True) -> str:
    """A line for the visitor, an alert if it is an error; "" for no message."""
    if not message:
        return ""
    role, kind = ("alert", "error") if is_error else ("status", "note")
    return f'<p class="fs-message fs-{kind}" role="{role}">{html.escape(message)}</p>'


def status_line(segments: int, seconds: float, new_words: int) -> str:
    """As in "6 segments in 0.4 s, 3 new words"."""
    line = f"{_count(segments, 'segment')} in {seconds:.1f} s"
    return f"{line}, {_count(new_words, 'new word')}" if new_words else line


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _legend_line(row: LegendRow) -> str:
    red, green, blue = row.color
    name, score, area = html.escape(row.name), percent_score(row.score), percent(row.share)
    kind = "" if row.is_thing else '<small class="fs-kind">stuff</small>'
    spoken = f"{row.name}, score {score}, {area} of the image"
    return (
        f'<li><button type="button" data-id="{row.id}" aria-pressed="false" '
        f'aria-label="{html.escape(spoken, quote=True)}">'
        f'<span class="fs-color" style="background: rgb({red} {green} {blue})"></span>'
        f'<span class="fs-name" title="{html.escape(row.name, quote=True)}">{name}{kind}</span>'
        f'<span class="fs-score">{score}</span><span class="fs-area">{area}</span></button></li>'
    )


def resized(image_HW3: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """The picture at that size, averaged where it becomes smaller; itself if it has the size."""
    import cv2

    if image_HW3.shape[:2] == (height, width):
        return image_HW3
    way = cv2.INTER_CUBIC if image_HW3.shape[0] < height else cv2.INTER_AREA
    result: NDArray[Any] = cv2.resize(image_HW3, (width, height), interpolation=way)
    return result.astype(np.uint8)


def _uri(image_HW3: NDArray[np.uint8]) -> str:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image_HW3).save(content, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode("ascii")
