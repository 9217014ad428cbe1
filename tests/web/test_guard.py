"""The door of the page without a server: what is too slow, and what is too much at a time."""

import asyncio

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from frozenseg.web import guard
from frozenseg.web.guard import Guard
from frozenseg.web.hosts import Hosts
from frozenseg.web.limits import Limits
from frozenseg.web.uploads import Uploads

ROUTE = "/gradio_api/upload"


@pytest.fixture
def door(tmp_path):
    """A guard before an application that answers when it is told to."""
    limits, open_now = Limits(seconds=0.05), asyncio.Event()

    async def app(scope, receive, send):
        await open_now.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    uploads = Uploads(tmp_path, limits, set)
    door = Guard(app, Hosts("127.0.0.1"), limits, tmp_path, None, uploads)
    return door, open_now


async def ask(door, path="/", method="GET", address="10.0.0.1", receive=None):
    """The status of the answer."""
    statuses = []

    async def send(message):
        statuses.append(message.get("status"))

    scope = {
        "type": "http", "method": method, "path": path, "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")], "client": (address, 1),
    }  # fmt: skip
    await door(scope, receive, send)
    return statuses[0]


def test_a_body_that_comes_too_slowly_is_refused(door):
    async def drop():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    for path in (ROUTE, "/login", "/gradio_api/queue/join"):
        assert asyncio.run(ask(door[0], path, "POST", receive=drop)) == 408


def test_who_leaves_is_no_error(door):
    async def leave():
        return {"type": "http.disconnect"}

    assert asyncio.run(ask(door[0], ROUTE, "POST", receive=leave)) == 400


def test_open_requests_of_a_visitor_are_counted(door, monkeypatch):
    monkeypatch.setattr(guard, "MOST_OPEN", 3)

    async def many():
        asked = [asyncio.create_task(ask(door[0])) for _ in range(5)]
        await asyncio.sleep(0.01)
        other = asyncio.create_task(ask(door[0], address="10.0.0.2"))
        await asyncio.sleep(0.01)
        door[1].set()
        statuses = await asyncio.gather(*asked, other)
        return statuses, await ask(door[0])

    statuses, later = asyncio.run(many())
    assert statuses == [200, 200, 200, 429, 429, 200]
    assert later == 200


def test_what_is_no_request_is_not_answered(door):
    asyncio.run(door[0]({"type": "websocket", "path": "/"}, None, None))
