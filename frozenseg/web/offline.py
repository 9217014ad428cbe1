"""The page asks nobody but its own server: an ASGI layer that sees to it.

gradio's index page names pictures on other hosts for link previews; they are taken out, and a
Content-Security-Policy keeps the browser from asking anyone else, whatever a script may try.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# gradio evaluates templates and has scripts and styles in its page: hence the two "unsafe".
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "connect-src 'self' data: blob:; object-src 'none'; base-uri 'self'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_ELSEWHERE = re.compile(
    r"""<(?:meta|link)\b[^>]*\b(?:content|href)\s*=\s*["'](?:https?:)?//[^>]*>"""
    r"""|<script\b[^>]*\bsrc\s*=\s*["'](?:https?:)?//[^>]*>\s*</script>"""
)


class Offline:
    """An ASGI application around another: its HTML pages without what lies on other hosts."""

    def __init__(self, app: App) -> None:
        """`app`: the application that answers."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request; all but HTML passes through unchanged, as it comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _PageSender(send))


class _PageSender:
    """Holds an HTML answer back until it is complete, and sends it cleaned."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_html(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body = without_other_hosts(self._body.decode("utf-8")).encode("utf-8")
        headers = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        headers += [
            (b"content-length", str(len(body)).encode()),
            (b"content-security-policy", POLICY.encode()),
            (b"referrer-policy", b"no-referrer"),
        ]
        await self._send({**start, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def without_other_hosts(page: str) -> str:
    """An HTML page without the meta, link and script elements that name another host."""
    return _ELSEWHERE.sub("", page)


def _is_html(start: Message) -> bool:
    headers = {name.lower(): value for name, value in start["headers"]}
    is_page = headers.get(b"content-type", b"").startswith(b"text/html")
    return is_page and b"content-encoding" not in headers
