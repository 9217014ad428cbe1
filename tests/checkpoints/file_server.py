"""A server on this machine for the tests of downloads."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

CONTENT = bytes(range(256)) * 8000


class FileServer(ThreadingHTTPServer):
    """Serves `content` under every path; what it does wrong can be set.

    Attributes:
        requests: the Range header of every request.
        content: the file.
        cut_after: bytes after which a connection is dropped, one entry per request.
        ranges: whether it knows Range.
        version: the file's ETag; "": none is sent.
        statuses: other answers, one entry per request.
        status: another answer to all requests.
        headers: more of them, or others, in place of the file's own ("": not sent).
        page: a web page that comes instead of the file, except for the address /file.
        redirect: where every path but /file leads.
        gzipped: whether it compresses what it sends, unasked.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[str | None] = []
        self.content = CONTENT
        self.cut_after: list[int] = []
        self.ranges = True
        self.version = '"1"'
        self.statuses: list[int] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.page = ""
        self.redirect = ""
        self.gzipped = False

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has seen enough is not an error."""

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"{self.root}/some/weights.pth"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        self.server.requests.append(self.headers.get("Range"))
        status = self.server.statuses.pop(0) if self.server.statuses else self.server.status
        if status != 200:
            self.send_error(status)
        elif self.server.redirect and self.path != "/file":
            self._send(302, b"", {"Location": self.server.redirect})
        elif self.server.page and self.path != "/file":
            self._send(200, self.server.page.encode(), {"Content-Type": "text/html; charset=utf-8"})
        elif self.server.gzipped:
            self._send(200, gzip.compress(self.server.content), {"Content-Encoding": "gzip"})
        else:
            self._send_file()

    do_HEAD = do_GET

    def _send_file(self) -> None:
        content, first = self.server.content, self._first_byte()
        headers = {"ETag": self.server.version} if self.server.version else {}
        if first >= len(content):
            self.send_error(416)
            return
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        self._send(206 if first else 200, content[first:], headers)

    def _first_byte(self) -> int:
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        if not asked or not self.server.ranges or condition not in (None, self.server.version):
            return 0
        return int(asked.removeprefix("bytes=").rstrip("-"))

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **headers, **self.server.headers}
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = self.server.cut_after.pop(0) if self.server.cut_after else len(body)
        self.wfile.write(body[:cut])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A running server."""
    with FileServer() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def content() -> bytes:
    """What the server sends."""
    return CONTENT
