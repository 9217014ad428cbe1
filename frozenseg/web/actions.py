"""What happens when something is pressed on the web page: a request in, contents of the page out.

`frozenseg` does the work. Like page.py this module imports gradio, when a page is served.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import gradio as gr

from frozenseg.errors import describe, is_user_error
from frozenseg.web.limits import (
    Limits,
    check_image_file,
    read_image_file,
    read_typed_words,
    visitor_of,
)
from frozenseg.web.models import LoadedModel, ModelShelf, usual_thresholds
from frozenseg.web.results import ResultFolder, about_model
from frozenseg.web.viewer import message_html, status_line, viewer_html

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

DOWNLOADS = ("↓ Overlay", "↓ Label map", "↓ JSON")
EMPTY = '<div class="fs-empty">The segments, with names, scores and areas, appear here.</div>'
_MINIATURE = (
    "Knows its small synthetic world only: circles, squares, triangles, stars, crosses, rings, "
    "hearts and moons in eight colours on grass, water, brick, sand, gravel, wood."
)


class Request(NamedTuple):
    """What the page's controls hold; the guard has seen that an image is a file of the page."""

    image: str | None
    words: str
    model: str
    task: str
    threshold: float
    visitor: str


class Actions:
    """The functions behind the controls; each answers with a result or a sentence, never fails."""

    def __init__(self, models: ModelShelf, limits: Limits, results: ResultFolder) -> None:
        """`results`: where the files go."""
        self.models = models
        self.limits = limits
        self.results = results
        self._lock = threading.Lock()

    def segment(
        self,
        image: Any,
        words: Any,
        model: Any,
        task: Any,
        threshold: Any,
        visit: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 - how gradio finds it
    ) -> tuple[Any, ...]:
        """The contents of message, viewer and downloads; the values are as browsers send them."""
        result, problem = self._try(
            lambda: self._segment(_request(image, words, model, task, threshold, visit), progress)
        )
        if result is None:
            hidden = [gr.DownloadButton(visible=False) for _ in DOWNLOADS]
            return _message(problem), EMPTY, *hidden
        shown, files = result
        buttons = [
            gr.DownloadButton(label, value=str(file), visible=True)
            for label, file in zip(DOWNLOADS, files, strict=True)
        ]
        return _message(""), shown, *buttons

    def look(self, image: Any) -> Any:
        """The content of message after an upload: what is wrong with the image, if anything."""
        return _message(self._try(lambda: check_image_file(_path(image), self.limits))[1])

    def choose(
        self,
        model: Any,
        task: Any,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        """The contents of message, model, task and threshold after a choice of model or task."""
        loaded, problem = self._try(lambda: self._get(model, progress))
        if loaded is None:
            return _message(problem), gr.skip(), gr.skip(), gr.skip()
        tasks = loaded.segmenter.tasks
        task = task if task in tasks else tasks[0]
        usual = usual_thresholds(loaded.segmenter).get(task)
        slider = gr.Slider(value=usual or 0.0, visible=usual is not None)
        chosen = gr.Radio(list(tasks), value=task)
        return _message(""), gr.Dropdown(info=model_note(model)), chosen, slider

    def _try(self, work: Callable[[], Result]) -> tuple[Result | None, str]:
        """The result of some work, or None and what the page says instead.

        An error that is not the visitor's goes into the server's log with its traceback.
        """
        try:
            with self._lock:
                return work(), ""
        except Exception as error:
            if is_user_error(error):
                return None, describe(error)
            logger.exception("a request failed")
            name = type(error).__name__
            return None, f"Something went wrong on the server ({name}); its log says more."

    def _segment(
        self, request: Request, progress: gr.Progress
    ) -> tuple[str, tuple[Path, Path, Path]]:
        """The viewer's HTML and the files. Raises: ValueError in words for the visitor."""
        vocabulary = read_typed_words(request.words, self.limits)
        image_HW3 = read_image_file(request.image, self.limits)
        loaded = self._get(request.model, progress)
        new_words = loaded.new_words(vocabulary)
        progress(0.3, desc=f"segmenting ({new_words} new words)" if new_words else "segmenting")
        has_threshold = request.task in usual_thresholds(loaded.segmenter)
        start = time.perf_counter()
        segmentation = loaded.segmenter(
            image_HW3,
            vocabulary,
            request.task,
            score_threshold=request.threshold if has_threshold else None,
        )
        seconds = time.perf_counter() - start
        loaded.meet(vocabulary)
        about = {"model": about_model(loaded.segmenter.about)}
        name = Path(request.image or "").name
        files = self.results.write(segmentation, name, about, request.visitor)
        status = status_line(len(segmentation.segments), seconds, new_words)
        return viewer_html(segmentation, status), files

    def _get(self, model: str, progress: gr.Progress) -> LoadedModel:
        if model not in self.models.loaded:
            progress(0.0, desc=f"loading {model}")
        return self.models.get(model)


def model_note(model: str) -> str:
    """A line below the choice of the model, "" where there is nothing to say."""
    if model == "miniature-fusioner":
        return f"{_MINIATURE} It was trained to find the shapes, not the grounds."
    return _MINIATURE if model.startswith("miniature-") else ""


def _request(
    image: Any, words: Any, model: Any, task: Any, threshold: Any, visit: gr.Request
) -> Request:
    """The controls' values. Raises: ValueError for what no control would give."""
    texts = (words or "", model, task)
    number = threshold if threshold is not None else 0.0
    if not all(isinstance(text, str) for text in texts) or not isinstance(number, (int, float)):
        raise ValueError("This is no request of the page: load it again.")
    if not 0 <= number <= 1:
        raise ValueError(f"The lowest score is {number}: choose one from 0 to 1.")
    return Request(_path(image), *texts, number, visitor_of(visit))


def _path(image: Any) -> str | None:
    return image["path"] if isinstance(image, dict) else None


def _message(text: str) -> Any:
    return gr.HTML(message_html(text), visible=bool(text))
