"""The door of the page: what the page itself does not ask for never reaches gradio.

gradio has many routes that this page does not use; some fetch addresses, some compute outside the
queue. This ASGI layer around the whole application names those that are used, and refuses all
else. docs/page_safety.md says what is promised.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit
from weakref import WeakValueDictionary

import gradio as gr
from pydantic import BaseModel, Field, ValidationError
from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from frozenseg.web.hosts import Hosts
from frozenseg.web.limits import LONGEST_WORD, Limits, visitor_of
from frozenseg.web.offline import App, Message, Receive, Send
from frozenseg.web.pace import Pace
from frozenseg.web.receiving import check_source, read_body, replay
from frozenseg.web.turns import Turns
from frozenseg.web.uploads import Uploads

_API = "/gradio_api"
# Method and path of every request that the page, or gradio's client, makes.
_ROUTES = re.compile(
    r"(GET|HEAD) /((assets|static)(/[\w.@~+-]{1,255})+|theme\.css|favicon\.ico|robots\.txt)?"
    r"|GET /(config|logout)/?"
    rf"|(GET|HEAD) {_API}/file=.+"
    rf"|GET {_API}/(info|queue/data|upload_progress|heartbeat/[\w-]{{1,64}})"
    rf"|POST ({_API}/(queue/join|upload)|/login)/?"
)
_HEADERS = {
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
}
# gradio builds addresses from these: a reverse proxy's, or a visitor's invention.
_FORWARDED = (b"x-forwarded-host", b"x-forwarded-proto", b"x-gradio-server")

MOST_OPEN = 128  # requests of one visitor at a time; a browser has six connections
MOST_UPLOADS, MOST_UPLOADS_EACH = 32, 4  # being received; a visitor's further ones wait
SMALL_BODY = 2**16  # bytes of a login, or of a request without its words
FORM_BYTES = 2**14  # of an upload, beside the file
LONGEST_FILE_NAME = 255  # bytes, of all usual file systems
AFTER_WRONG_PASSWORD = 1.0  # seconds until the visitor's next try
_UPLOADED = Response('data: {"msg": "done"}\n\n', media_type="text/event-stream")


class _File(BaseModel):
    """A file as gradio's pages name it."""

    path: str = Field(max_length=4096)
    url: str | None = Field(None, max_length=20_000)
    orig_name: str | None = Field(None, max_length=1000)
    meta: dict[str, str] = {"_type": "gradio.FileData"}


class _Join(BaseModel):
    """A request for a turn; all else that gradio would read is left out."""

    fn_index: int
    session_hash: str = Field(pattern=r"^[\w-]{1,64}$")
    data: list[_File | str | int | float | bool | None]
    trigger_id: int | None = None


class Guard:
    """The page's application behind its door."""

    def __init__(
        self, app: App, hosts: Hosts, limits: Limits, folder: Path, turns: Turns, uploads: Uploads
    ) -> None:
        """
        Args:
            app: answers what is let through.
            folder: all files that visitors may name or get lie in it.
        """
        self._app, self._hosts, self._limits, self._folder = app, hosts, limits, folder
        self._turns, self._uploads = turns, uploads
        self._open: Counter[str] = Counter()
        self._pace = Pace()
        self._receiving = 0
        self._upload_slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._login_slots: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._joining, self._storing = asyncio.Lock(), asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request; a refusal is {"detail": why} as JSON."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            request = Request(scope)
            visitor = visitor_of(request, request.client.port if request.client else "")
            with self._opened(visitor):
                await self._pace.wait(visitor, _cost(scope["path"]))
                await self._answer(scope, receive, send_with_headers)
        except HTTPException as refusal:
            answer = JSONResponse({"detail": refusal.detail}, refusal.status_code)
            await answer(scope, receive, send_with_headers)

    @contextlib.contextmanager
    def _opened(self, visitor: str) -> Iterator[None]:
        if self._open[visitor] >= MOST_OPEN:
            raise HTTPException(429, "Too many requests of yours are open.")
        self._open[visitor] += 1
        try:
            yield
        finally:
            self._open[visitor] -= 1
            self._open += Counter()  # without those that have none

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        check_source(Headers(scope=scope), self._hosts)
        path: str = scope["path"]
        if not _ROUTES.fullmatch(f"{scope['method']} {path}"):
            raise HTTPException(404, "The page has no such address.")
        if not self._hosts.public:
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in _FORWARDED]
        route = path.rstrip("/").removeprefix(_API)
        if route.startswith("/file="):
            self._check_path(route.removeprefix("/file="))
        elif route == "/queue/data":
            session = Request(scope).query_params.get("session_hash", "")
            if not self._turns.knows(session):
                raise HTTPException(404, "Nothing was asked for in this session.")
        if route == "/upload":
            await self._upload(scope, receive, send)
        elif route == "/queue/join":
            await self._join(scope, receive, send)
        elif route == "/login":
            await self._login(scope, receive, send)
        elif route == "/upload_progress":  # gradio's would not know: it gets whole forms
            await _UPLOADED(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check_path(self, path: str) -> None:
        """Refuses what is not a file of this page; addresses too, before anybody asks for them."""
        file = Path(path)
        if ".." in file.parts or "\0" in path or not file.is_relative_to(self._folder):
            raise HTTPException(403, "This is no file of the page.")

    async def _join(self, scope: Message, receive: Receive, send: Send) -> None:
        most = SMALL_BODY + 4 * (LONGEST_WORD + 10) * self._limits.words  # UTF-8
        with tempfile.SpooledTemporaryFile(most) as body:
            await self._read(scope, receive, body, most)
            request = self._checked_join(body.read())
        with tempfile.SpooledTemporaryFile(2 * most) as clean:
            clean.write(request.model_dump_json().encode())
            clean.seek(0)
            async with self._joining:  # so that nobody comes between question and entry
                session = request.session_hash
                problem = self._turns.problem(visitor_of(Request(scope), session), session)
                if problem:
                    raise HTTPException(429, problem)
                await self._app(scope, replay(clean, receive), send)

    def _checked_join(self, body: bytes) -> _Join:
        try:
            request = _Join.model_validate_json(body)
        except ValidationError:
            raise HTTPException(400, "This is no request of the page.") from None
        inputs = self._turns.inputs(request.fn_index)
        if inputs is None or len(inputs) != len(request.data):
            raise HTTPException(400, "The page has no such function.")
        for control, value in zip(inputs, request.data, strict=True):
            if isinstance(value, _File):
                self._check_file(value)
            if isinstance(control, gr.Image) != isinstance(value, _File) and value is not None:
                raise HTTPException(400, "This is no request of the page.")
        return request

    def _check_file(self, file: _File) -> None:
        self._check_path(file.path)
        url = urlsplit(file.url or "")
        own = unquote(url.path).endswith(f"{_API}/file={file.path}")
        if file.url and not (own and self._hosts.serves(url.netloc)):
            raise HTTPException(403, "Images are uploaded, never fetched from an address.")
        if not Path(file.path).is_file():
            raise HTTPException(410, "The image is no longer here: choose it again.")

    async def _upload(self, scope: Message, receive: Receive, send: Send) -> None:
        """Takes one file in. gradio gets the form when it is complete, and one form at a time."""
        visitor = visitor_of(Request(scope))
        scope["query_string"] = b""  # gradio remembers every upload_id for good
        slot = self._upload_slots.setdefault(visitor, asyncio.Semaphore(MOST_UPLOADS_EACH))
        async with slot:
            if self._receiving >= MOST_UPLOADS:
                raise HTTPException(503, "Too many uploads at a time: try again in a minute.")
            self._receiving += 1
            try:
                with tempfile.SpooledTemporaryFile(2**20) as form:
                    size = await self._read(
                        scope, receive, form, self._limits.file_bytes + FORM_BYTES
                    )
                    await _check_form(Request(scope, replay(form, receive)))
                    form.seek(0)
                    async with self._storing:
                        problem = self._uploads.make_room(visitor, size)
                        if problem:
                            raise HTTPException(429, problem)
                        try:
                            await self._app(scope, replay(form, receive), send)
                        finally:
                            self._uploads.settle(visitor)
            finally:
                self._receiving -= 1

    async def _login(self, scope: Message, receive: Receive, send: Send) -> None:
        """One try at a time for a visitor, and a pause after a wrong one."""
        statuses: list[int] = []

        async def watch(message: Message) -> None:
            statuses.extend([message["status"]] if "status" in message else [])
            await send(message)

        slot = self._login_slots.setdefault(visitor_of(Request(scope)), asyncio.Semaphore(1))
        with tempfile.SpooledTemporaryFile(SMALL_BODY) as body:
            await self._read(scope, receive, body, SMALL_BODY)
            async with slot:
                await self._app(scope, replay(body, receive), watch)
                if statuses != [200]:
                    await asyncio.sleep(AFTER_WRONG_PASSWORD)

    async def _read(self, scope: Message, receive: Receive, into: IO[bytes], most: int) -> int:
        return await read_body(Headers(scope=scope), receive, into, most, self._limits.seconds)


def _cost(path: str) -> float:
    """Of an answer, in units of a small file, for `Pace`."""
    if path.startswith(("/assets/", "/static/", f"{_API}/file=")):
        return 1
    return 60 if path.startswith(f"{_API}/upload") else 20


async def _check_form(request: Request) -> None:
    """Refuses an upload that is not one file."""
    refusal = HTTPException(400, "An upload is a form with one file, called files.")
    try:
        async with request.form(max_files=1, max_fields=0) as form:
            file = form.get("files")
            name = file.filename or "" if isinstance(file, UploadFile) else None
    except MultiPartException:
        raise refusal from None
    if name is None or len(name.encode("utf-8", "replace")) > LONGEST_FILE_NAME:
        raise refusal
