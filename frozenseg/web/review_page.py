"""The page of `frozenseg review`: segments of a class as small pictures, a verdict below each.

The module imports gradio, so it is imported only when the page is served.
"""

from __future__ import annotations

import base64
import html
import io
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image

from frozenseg.labelling.parts import rows_of
from frozenseg.labelling.review import VIEWS, Review, Verdict, key_of
from frozenseg.labelling.tiles import tile
from frozenseg.visualization.contact_sheet import Tile

SHOWN, COLUMNS = 12, 4  # segments of a page
OPEN = "open"
CHOICES = [OPEN, "accepted", "rejected"]
_TITLE = (
    '<header class="fs-title"><h1>FrozenSeg</h1>'
    "<p>Review of a labelling job: accept or reject; every verdict is kept at once.</p></header>"
)


class Actions:
    """What the controls do; the verdicts' file is all that is kept."""

    def __init__(self, review: Review) -> None:
        self.review = review
        names = [row["name"] for row in review.manifest.vocabulary]
        order = [index for index, _ in review.counts.most_common()]
        self.classes = {f"{names[i]} ({review.counts[i]})": i for i in order}

    def rows(self, chosen: str, view: str, page: float) -> list[dict[str, Any]]:
        """The rows of a page."""
        places = self.review.segments(view, self.classes[chosen])
        first = SHOWN * (int(page) - 1)
        return rows_of(self.review.output, places[first : first + SHOWN])

    def show(self, chosen: str, view: str, page: float) -> list[Any]:
        """Page number, message, then picture and verdict of every place of the page."""
        try:
            count = len(self.review.segments(view, self.classes[chosen]))
        except ValueError as error:
            return self._filled(1, str(error), [])
        pages = max(1, -(-count // SHOWN))
        page = min(max(1, int(page)), pages)
        rows = self.rows(chosen, view, page)
        nothing = "" if rows else "None found. "
        return self._filled(page, f"{nothing}Page {page} of {pages}. {self.summary()}", rows)

    def _filled(self, page: int, message: str, rows: list[dict[str, Any]]) -> list[Any]:
        verdicts = self.review.verdicts.read()
        shown: list[Any] = [page, _message(message)]
        for row in rows:
            picture = tile(self.review.output, self.review.manifest, row)
            verdict = verdicts.get(key_of(row), OPEN)
            shown += [gr.update(value=_figure(picture), visible=True)]
            shown += [gr.update(value=verdict, visible=True)]
        hidden = [gr.update(visible=False), gr.update(visible=False, value=OPEN)]
        return shown + hidden * (SHOWN - len(rows))

    def judge(self, place: int, verdict: str, chosen: str, view: str, page: float) -> str:
        """Keeps the verdict on a place of a page."""
        rows = self.rows(chosen, view, page)
        if place < len(rows):
            self.review.verdicts.set(key_of(rows[place]), _verdict(verdict))
        return _message(f"Page {int(page)}. {self.summary()}")

    def accept_open(self, chosen: str, view: str, page: float) -> list[Any]:
        """Accepts what is open on a page."""
        there = self.review.verdicts.read()
        for row in self.rows(chosen, view, page):
            if key_of(row) not in there:
                self.review.verdicts.set(key_of(row), "accepted")
        return self.show(chosen, view, page)

    def export(self) -> str:
        """Writes the COCO file of what is accepted."""
        try:
            return _message(f"Written: {self.review.export()}")
        except (ValueError, OSError) as error:
            return _message(str(error))

    def summary(self) -> str:
        """How many segments have which verdict."""
        verdicts = list(self.review.verdicts.read().values())
        return ", ".join(f"{verdicts.count(each)} {each}" for each in ("accepted", "rejected"))


def _verdict(text: str) -> Verdict | None:
    verdicts: dict[str, Verdict] = {"accepted": "accepted", "rejected": "rejected"}
    return verdicts.get(text)


def _message(text: str) -> str:
    return f'<p class="fs-message fs-note">{html.escape(text)}</p>'


def _figure(tile: Tile) -> str:
    picture = ""
    lines = [html.escape(line) for line in tile.lines]
    if tile.picture_HW3 is not None:
        file = io.BytesIO()
        Image.fromarray(tile.picture_HW3).save(file, "PNG")
        data = base64.b64encode(file.getvalue()).decode()
        picture = f'<img src="data:image/png;base64,{data}" alt="{lines[0]}">'
    return (
        f'<figure class="fs-tile"><div>{picture}</div>'
        f"<figcaption>{'<br>'.join(lines)}</figcaption></figure>"
    )


def build_review_page(actions: Actions) -> gr.Blocks:
    """The page, ready to be launched."""
    names = list(actions.classes)
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Blocks(title="FrozenSeg review", analytics_enabled=False) as page:
        gr.HTML(_TITLE)
        with gr.Row():
            chosen = gr.Dropdown(names, value=names[0], label="Class", elem_id="fs-class")
            view = gr.Radio(list(VIEWS), value=VIEWS[0], label="Show", elem_id="fs-show")
        with gr.Row():
            number = gr.Number(1, label="Page", precision=0, minimum=1, elem_id="fs-number")
            before, after = gr.Button("Previous"), gr.Button("Next")
            accept = gr.Button("Accept the open ones", variant="primary")
            export = gr.Button("Write COCO file of the accepted")
        message = gr.HTML(elem_id="fs-message")
        places: list[Any] = []
        for start in range(0, SHOWN, COLUMNS):
            with gr.Row(equal_height=False):
                for _ in range(start, start + COLUMNS):
                    with gr.Column(min_width=180):
                        figure = gr.HTML(visible=False)
                        verdict = gr.Radio(CHOICES, value=OPEN, show_label=False, visible=False)
                        places += [figure, verdict]
        where, outputs = [chosen, view, number], [number, message, *places]
        for choice in (chosen.input, view.input):
            choice(lambda c, v: actions.show(c, v, 1), [chosen, view], outputs, **quiet)
        for event in (page.load, number.submit):
            event(actions.show, where, outputs, **quiet)
        before.click(lambda c, v, n: actions.show(c, v, n - 1), where, outputs, **quiet)
        after.click(lambda c, v, n: actions.show(c, v, n + 1), where, outputs, **quiet)
        accept.click(actions.accept_open, where, outputs, **quiet)
        export.click(actions.export, None, message, **quiet)
        for place, verdict in enumerate(places[1::2]):
            verdict.input(partial(actions.judge, place), [verdict, *where], message, **quiet)
    return page
