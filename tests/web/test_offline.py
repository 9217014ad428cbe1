"""The layer that keeps the page to its own server."""

import asyncio

from frozenseg.web.offline import POLICY, Offline, without_other_hosts


def answer(scope, *messages):
    """What an application that sends these messages sends through the layer."""
    sent = []

    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    async def send(message):
        sent.append(message)

    asyncio.run(Offline(app)(scope, None, send))
    return sent


def start(content_type, length):
    headers = [(b"content-type", content_type), (b"content-length", str(length).encode())]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def body(content, more=False):
    return {"type": "http.response.body", "body": content, "more_body": more}


def test_a_page_loses_other_hosts_and_gets_a_policy():
    parts = [
        b'<meta property="og:image" content="https://exa',
        b'mple.org/a.jpg" /><p>\xc3\xa4</p>',
    ]
    length = sum(map(len, parts))
    head, content = answer(
        {"type": "http"}, start(b"text/html; charset=utf-8", length), body(parts[0], True),
        body(parts[1]),
    )  # fmt: skip
    assert content["body"].decode() == "<p>ä</p>"
    headers = dict(head["headers"])
    assert headers[b"content-length"] == str(len("<p>ä</p>".encode())).encode()
    assert headers[b"content-security-policy"] == POLICY.encode()
    assert len(head["headers"]) == 4  # one length only


def test_all_else_passes_as_it_comes():
    stream = [start(b"text/event-stream", 2), body(b"https://x", True), body(b"y")]
    assert answer({"type": "http"}, *stream) == stream
    assert answer({"type": "lifespan"}, {"type": "lifespan.startup.complete"}) == [
        {"type": "lifespan.startup.complete"}
    ]


def test_which_elements_name_another_host():
    own = '<link rel="icon" href="/a.png"><script src="./b.js"></script><meta name="x" content="y">'
    other = (
        '<link rel="preconnect" href="https://fonts.example.org" crossorigin>'
        "<script async src='//cdn.example.org/a.js'></script>"
        '<meta\n  name="twitter:image"\n  content="http://example.org/a.png"\n/>'
    )
    assert without_other_hosts(own + other) == own


def test_the_policy_names_no_host():
    assert "//" not in POLICY
    assert "*" not in POLICY
    assert POLICY.startswith("default-src 'self'")
