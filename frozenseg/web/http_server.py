"""How the service meets the network: its server, the lines of its log, its tokens."""

from __future__ import annotations

import logging
import time
from typing import Any

import uvicorn
from starlette.datastructures import MutableHeaders
from uvicorn.protocols.http.h11_impl import H11Protocol

from frozenseg.web.offline import App, Message, Receive, Send

logger = logging.getLogger(__name__)

MOST_CONNECTIONS = 800  # most systems give a process 1024 files
SHORTEST_TOKEN = 16  # characters
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": _POLICY}


class Line:
    """An ASGI layer: headers for every answer, and one line of the log, without any content."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # Not the address itself: it may hold words, or lines for the log.
            route = scope.get("route")
            path = getattr(route, "path", "(another address)")
            visitor = scope["client"][0] if scope["client"] else "-"
            milliseconds = 1000 * (time.perf_counter() - start)
            method = scope["method"][:10]
            logger.info("%s %s %s %d %.0f ms", visitor, method, path, status, milliseconds)


class _Server(uvicorn.Server):
    """uvicorn's, which says when it is ready, and ends connections that send no whole request."""

    def __init__(self, config: uvicorn.Config, seconds: float) -> None:
        """`seconds`: until a connection has sent the headers of its next request."""
        super().__init__(config)
        self._seconds = seconds
        self._idle_since: dict[tuple[H11Protocol, object], float] = {}

    async def startup(self, *arguments: Any, **more: Any) -> None:
        """Begins to listen."""
        await super().startup(*arguments, **more)
        host = f"[{self.config.host}]" if ":" in self.config.host else self.config.host
        url = f"http://{host}:{self.config.port}"
        print(f"FrozenSeg's service: {url}/docs (Ctrl-C ends it)", flush=True)

    async def on_tick(self, counter: int) -> bool:
        """What uvicorn does ten times a second; whether it must end."""
        now, before = time.monotonic(), self._idle_since
        self._idle_since = {
            (each, each.cycle): before.get((each, each.cycle), now)
            for each in self.server_state.connections
            if isinstance(each, H11Protocol)
            and (each.cycle is None or each.cycle.response_complete)
        }
        for (connection, _), since in self._idle_since.items():
            if now - since > self._seconds:
                connection.transport.close()
        return await super().on_tick(counter)


def make_server(app: App, host: str, port: int, *, public: bool, seconds: float) -> uvicorn.Server:
    """What serves an application by `run()`, until a signal comes.

    Args:
        public: whether a reverse proxy is believed who asks.
        seconds: that running requests then have to end; and those until headers have arrived.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="h11",
        ws="none",
        log_level="warning",
        access_log=False,  # its lines hold words
        proxy_headers=public,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=round(seconds),
    )
    return _Server(config, seconds)


def read_tokens(lines: str) -> list[str]:
    """The tokens of a file, one in each line.

    Raises: ValueError, without the tokens, for one that is too short or no header can hold.
    """
    tokens = [line.strip() for line in lines.splitlines() if line.strip()]
    for number, token in enumerate(tokens, 1):
        if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
            raise ValueError(
                f"token {number} of {len(tokens)}: needs {SHORTEST_TOKEN} letters, digits or signs "
                "at least; `python -c 'import secrets; print(secrets.token_urlsafe())'` makes one"
            )
    if not tokens:
        raise ValueError("there is no token")
    return tokens
