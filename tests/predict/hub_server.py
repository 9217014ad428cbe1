"""A Hugging Face hub on this machine, as far as `snapshot_download` asks it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Hub(ThreadingHTTPServer):
    """Serves folders as repositories, each with the revisions that are given.

    Attributes:
        repositories: name -> branch, tag or "main" -> folder.
        token: what a client must send; "": nothing.
        gated: names that nobody may read.
        requests: the paths that were asked for.
    """

    daemon_threads = True

    def __init__(self, repositories: dict[str, dict[str, Path]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = repositories
        self.token = ""
        self.gated: set[str] = set()
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has seen enough is not an error."""


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append(path)
        if self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self._send(401, b"", {"X-Error-Message": "Invalid credentials"})
        parts = path.strip("/").split("/")
        api = parts[:2] == ["api", "models"]
        parts = parts[2:] if api else parts
        name, kind, revision = "/".join(parts[:2]), parts[2], parts[3]
        if name in self.server.gated:
            return self._send(403, b"", {"X-Error-Code": "GatedRepo"})
        if name not in self.server.repositories:
            return self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        commits = {_commit(folder): folder for folder in self.server.repositories[name].values()}
        folder = {**commits, **self.server.repositories[name]}.get(revision)
        if folder is None:
            return self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        names = {file.relative_to(folder).as_posix(): file for file in files}
        if kind == "revision":
            siblings = [{"rfilename": each} for each in names]
            return self._json({"id": name, "sha": _commit(folder), "siblings": siblings})
        if kind == "tree":
            return self._json([_entry(each, file) for each, file in names.items()])
        file = names.get("/".join(parts[4:]))
        if kind != "resolve" or file is None:
            return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
        content = file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        return self._send(200, content, {"ETag": f'"{digest}"', "X-Repo-Commit": _commit(folder)})

    do_HEAD = do_GET

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


def _commit(folder: Path) -> str:
    return hashlib.sha1(str(folder).encode()).hexdigest()


def _entry(name: str, file: Path) -> dict[str, object]:
    content = file.read_bytes()
    return {
        "type": "file",
        "path": name,
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
        "lfs": {
            "oid": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "pointerSize": 130,
        },
    }


@contextmanager
def serving(repositories: dict[str, dict[str, Path]]) -> Iterator[Hub]:
    """A running hub."""
    with Hub(repositories) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        running.shutdown()
