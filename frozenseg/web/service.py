"""Segmentation over HTTP for programs: an image and words in, JSON with COCO RLE out.

docs/serve.md says how it is asked. An image is always in the request: no address is ever fetched.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from fastapi import FastAPI
from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from frozenseg.errors import describe
from frozenseg.predict.segmentation_files import label_image
from frozenseg.predict.segmented_image import words_json
from frozenseg.predict.tasks import check_task, check_threshold
from frozenseg.predict.words import with_background
from frozenseg.web.batches import Batches
from frozenseg.web.hosts import Hosts
from frozenseg.web.http_server import Line
from frozenseg.web.limits import (
    LONGEST_WORD,
    Limits,
    TooLarge,
    check_image_file,
    read_image_file,
    read_typed_words,
    size_in_header,
)
from frozenseg.web.receiving import check_source, read_body, replay
from frozenseg.web.results import about_model
from frozenseg.web.service_schema import (
    Ask,
    Found,
    Health,
    Model,
    describe_refusals,
    describe_segment,
    page_of,
    read_ask,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from frozenseg.predict.segmentation import Segmentation
    from frozenseg.vocab import Vocabulary

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

TITLE = "frozenseg serve"
ABOUT = "Open-vocabulary segmentation: an image and words in, named segments out."
FORM_BYTES = 2**14  # of a form, beside image and words


class AnySegmenter(Protocol):
    """What is served: `frozenseg.Segmenter`, or anything else with this part of its API."""

    name: str
    task: str
    vocabulary: Vocabulary
    about: dict[str, Any]

    @property
    def tasks(self) -> tuple[str, ...]:
        """What it computes."""

    def batch(
        self,
        images: Sequence[Any],
        vocabulary: Vocabulary | None = None,
        task: str | None = None,
        *,
        background: str | None = None,
        score_threshold: float | None = None,
    ) -> list[Segmentation]:
        """The segmentations of some images."""


class _Wish(NamedTuple):
    """What requests that go through the model together have in common."""

    words: Vocabulary
    task: str
    background: str | None
    score_threshold: float | None
    size: tuple[int, int]


class Service:
    """The application: routes, limits, and the requests that wait for the model."""

    def __init__(
        self,
        segmenter: AnySegmenter,
        limits: Limits,
        folder: Path,
        *,
        hosts: Hosts,
        tokens: Sequence[str] = (),
        most_requests: int = 64,
        most_together: int = 8,
    ) -> None:
        """
        Args:
            limits: of a request; its `seconds` until it has arrived, and again until its answer.
            folder: of the images that are here now.
            tokens: one of which every request must show; none: everybody may ask.
            most_requests: that arrive, wait or are computed; further ones are refused.
            most_together: images that go through the model at a time.
        """
        self._segmenter, self._limits, self._folder = segmenter, limits, folder
        self._hosts, self._tokens = hosts, [token.encode() for token in tokens]
        self._most_requests, self._requests = most_requests, 0
        self._batches = Batches(self._segment, most_together)
        self._decoders = ThreadPoolExecutor(most_together, "decode")
        self.app = self._application()

    def _application(self) -> FastAPI:
        @contextlib.asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            async with self._batches.running():
                yield
            self._decoders.shutdown()

        app = FastAPI(
            title=TITLE,
            version="1",  # of the API
            description=ABOUT,
            docs_url=None,  # it would ask another host for its scripts
            redoc_url=None,
            lifespan=lifespan,
            routes=[
                APIRoute(
                    "/segment",
                    self.segment,
                    methods=["POST"],
                    responses={
                        200: {"model": Found, "description": "The segments."},
                        **describe_refusals(400, 401, 403, 408, 413, 415, 422, 429, 500, 503),
                    },
                    openapi_extra=describe_segment(),
                ),
                APIRoute(
                    "/models",
                    self.models,
                    response_model=list[Model],
                    responses=describe_refusals(400, 401, 403),
                ),
                APIRoute("/health", self.health, response_model=Health),
                APIRoute("/docs", self.docs, include_in_schema=False),
            ],
        )
        app.add_middleware(Line)
        return app

    async def segment(self, request: Request) -> Response:
        """Segments an image: a form with the file `image`, or the image itself as the body and
        all else in the address. The answer is COCO's JSON.
        """
        self._admit(request)
        with self._place(), tempfile.TemporaryDirectory(dir=self._folder) as own:
            image = Path(own) / "image"
            try:
                ask = read_ask(await self._receive(request, image))
                wish = await asyncio.to_thread(self._checked, ask, image)
                found = await self._wait(request, self._batches.ask(wish, image))
                answer = await asyncio.to_thread(self._answer, found, ask)
            except Exception as error:
                raise _refusal(error) from error
        return Response(answer, media_type="application/json")

    async def models(self, request: Request) -> list[dict[str, Any]]:
        """What is served: its name, tasks, and words where a request has none."""
        self._admit(request)
        segmenter = self._segmenter
        name = about_model({"name": segmenter.name})["name"]
        words = words_json(segmenter.vocabulary)
        return [{"name": name, "tasks": segmenter.tasks, "vocabulary": words}]

    async def health(self) -> dict[str, Any]:
        """Whether the model is loaded and requests are answered; needs no token."""
        return {
            "status": "ok",
            "requests": self._requests,
            "waiting": self._batches.waiting,
            "computed": self._batches.computed,
            "batches": self._batches.batches,
        }

    async def docs(self) -> Response:
        """The API as a page."""
        return HTMLResponse(page_of(self.app.openapi()))

    def _admit(self, request: Request) -> None:
        """Raises: HTTPException for a request that must not ask."""
        check_source(request.headers, self._hosts)
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        shown = given.strip().encode()
        known = [secrets.compare_digest(shown, token) for token in self._tokens]
        if self._tokens and not (kind.lower() == "bearer" and any(known)):
            raise HTTPException(
                401,
                "A token is needed: send it as the header `Authorization: Bearer TOKEN`.",
                {"www-authenticate": "Bearer"},
            )

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._requests >= self._most_requests:
            raise HTTPException(
                429, "Too many requests are waiting: try again in a moment.", {"retry-after": "1"}
            )
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _receive(self, request: Request, image: Path) -> list[tuple[str, object]]:
        """Writes the image; names and values of the request."""
        in_address = request.query_params.multi_items()
        kind, options = parse_options_header(request.headers.get("content-type"))
        headers, limits = request.headers, self._limits
        if kind.startswith(b"image/") or kind == b"application/octet-stream":
            with image.open("wb") as file:
                await read_body(headers, request.receive, file, limits.file_bytes, limits.seconds)
            return [*in_address]
        is_utf8 = options.get(b"charset", b"utf-8").lower() == b"utf-8"
        if kind != b"multipart/form-data" or not is_utf8:
            raise HTTPException(
                415,
                "Send a form (multipart/form-data, UTF-8) with the file `image`, or the image "
                "itself with Content-Type image/jpeg, image/png or application/octet-stream; got "
                f"{headers.get('content-type', 'no Content-Type')[:100]!r}.",
            )
        return [*in_address, *await self._receive_form(request, image)]

    async def _receive_form(self, request: Request, image: Path) -> list[tuple[str, object]]:
        most_words = 4 * (LONGEST_WORD + 10) * self._limits.words  # UTF-8
        most = self._limits.file_bytes + most_words + FORM_BYTES
        with tempfile.SpooledTemporaryFile(2**20) as body:
            await read_body(request.headers, request.receive, body, most, self._limits.seconds)
            form = Request(request.scope, replay(body, request.receive)).form(
                max_files=1, max_fields=len(Ask.model_fields), max_part_size=most_words
            )
            try:
                fields = await form
            except HTTPException as error:
                if "maximum size" in error.detail:
                    raise TooLarge("A field of the form is too long: give fewer words.") from None
                raise ValueError(f"The form cannot be read: {error.detail}") from None
            file = fields.get("image")
            if not isinstance(file, UploadFile):
                raise ValueError("The form has no file called `image`.")
            with file.file, image.open("wb") as target:
                await asyncio.to_thread(shutil.copyfileobj, file.file, target)
            return [pair for pair in fields.multi_items() if pair[1] is not file]

    def _checked(self, ask: Ask, image: Path) -> _Wish:
        """What a request wants. Raises: ValueError, in one sentence, for what cannot be had."""
        segmenter, limits = self._segmenter, self._limits
        task = check_task(segmenter.task if ask.task is None else ask.task, segmenter.tasks)
        check_threshold(task, ask.score_threshold)
        words = segmenter.vocabulary
        if ask.words is not None:
            words = read_typed_words(ask.words, limits)
        if ask.background is not None:
            if len(read_typed_words(ask.background, limits)) > 1:
                raise ValueError("The background is one class: commas separate its names.")
            with_background(words, ask.background)
        size = size_in_header(check_image_file(str(image), limits))
        return _Wish(words, task, ask.background, ask.score_threshold, size)

    async def _wait(self, request: Request, answer: Any) -> Any:
        """The answer, unless it takes too long or nobody waits for it any more."""
        answered = asyncio.ensure_future(answer)
        left = asyncio.ensure_future(_left(request))
        try:
            await asyncio.wait(
                (answered, left),
                timeout=self._limits.seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if answered.done():
                return answered.result()
            if left.done():
                raise HTTPException(499, "The client has left.")
            raise HTTPException(
                503,
                f"There was no answer within {self._limits.seconds:g} s: the server is busy, try "
                "again later.",
                {"retry-after": "5"},
            )
        finally:
            answered.cancel()
            left.cancel()

    def _segment(self, wish: _Wish, images: Sequence[Path]) -> list[Segmentation | Exception]:
        """A result or an error for each image: one that is bad does not spoil the others."""
        decoded = list(self._decoders.map(self._pixels, images))
        found = iter(self._batch(wish, [each for each in decoded if not _failed(each)]))
        return [each if isinstance(each, Exception) else next(found) for each in decoded]

    def _pixels(self, image: Path) -> NDArray[np.uint8] | Exception:
        return _attempt(lambda: read_image_file(str(image), self._limits))

    def _batch(self, wish: _Wish, pixels: Sequence[Any]) -> list[Segmentation | Exception]:
        def segment() -> list[Segmentation]:
            return self._segmenter.batch(
                pixels,
                wish.words,
                wish.task,
                background=wish.background,
                score_threshold=wish.score_threshold,
            )

        found = _attempt(segment) if pixels else []
        if not isinstance(found, Exception):
            return [*found]
        if len(pixels) == 1:
            return [found]
        logger.warning(
            "a batch of %d failed, each is tried alone: %s", len(pixels), describe(found)
        )
        return [each for one in pixels for each in self._batch(wish, [one])]

    def _answer(self, found: Segmentation, ask: Ask) -> bytes:
        content: dict[str, Any] = {"model": about_model(self._segmenter.about), **found.to_json()}
        if ask.label_map:
            png = io.BytesIO()
            label_image(found).save(png, "PNG", compress_level=1)
            content["label_map_png"] = base64.b64encode(png.getvalue()).decode()
        return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _failed(value: object) -> bool:
    return isinstance(value, Exception)


def _attempt(work: Callable[[], Result]) -> Result | Exception:
    """The result, or the error, which becomes the answer of its request."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - `_refusal` logs it
        return error


def _refusal(error: Exception) -> HTTPException:
    """The answer to a request that led to an error."""
    if isinstance(error, HTTPException):
        return error
    if isinstance(error, TooLarge):
        return HTTPException(413, str(error))
    if isinstance(error, ValueError):
        return HTTPException(422, describe(error))
    name = type(error).__name__
    logger.error("a request failed", exc_info=error)
    return HTTPException(500, f"Something went wrong on the server ({name}); its log says more.")
