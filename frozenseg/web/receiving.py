"""What a request says and brings, before anything is computed: its source, its body.

Refusals are starlette's HTTPException, with one sentence.
"""

from __future__ import annotations

import asyncio
from typing import IO

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from frozenseg.web.hosts import Hosts
from frozenseg.web.offline import Message, Receive


def check_source(headers: Headers, hosts: Hosts) -> None:
    """Raises: HTTPException for another server's name, or a page of another server."""
    host = headers.get("host", "")
    if not hosts.serves(host):
        raise HTTPException(
            400, f"Nothing is served here as {host[:100]!r}: --public-host would allow it."
        )
    if not hosts.trusts(headers.get("origin"), host):
        raise HTTPException(403, "The request comes from a page of another server.")


async def read_body(
    headers: Headers, receive: Receive, into: IO[bytes], most: int, seconds: float
) -> int:
    """Copies a request's body; its size. `into` is then at its beginning.

    Args: most, seconds: bytes of the body, and until it has arrived.
    Raises: HTTPException if it is too large or slow.
    """
    too_large = HTTPException(413, f"The request has more than {most:,} bytes.")
    if int(headers.get("content-length", 0)) > most:
        raise too_large

    async def copy() -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise HTTPException(400, "The visitor has left.")
            into.write(message.get("body", b""))
            if into.tell() > most:
                raise too_large
            more = message.get("more_body", False)

    try:
        await asyncio.wait_for(copy(), seconds)
    except asyncio.TimeoutError:
        raise HTTPException(408, f"The request took longer than {seconds:g} s to arrive.") from None
    size = into.tell()
    into.seek(0)
    return size


def replay(body: IO[bytes], receive: Receive) -> Receive:
    """What `receive` would have given, from a copy; after its end what comes next."""
    ended = False

    async def replayed() -> Message:
        nonlocal ended
        if ended:
            return await receive()
        chunk = body.read(2**18)
        ended = not chunk
        return {"type": "http.request", "body": chunk, "more_body": not ended}

    return replayed
