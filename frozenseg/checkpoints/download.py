"""Downloads that show their progress, can be stopped and resumed, and are checked at the end."""

from __future__ import annotations

import http.client
import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from filelock import FileLock  # torch and huggingface_hub need it: always installed

from frozenseg.files import file_sha256
from frozenseg.progress import Progress

ATTEMPTS = 4  # in a row without a single new byte
PAUSE = 1.0  # seconds before the second attempt; doubled after each
TIMEOUT = 30.0  # seconds without an answer
_BLOCK = 2**18
_MEGABYTE = 1e6
_NETWORK_ERRORS = (OSError, http.client.HTTPException)  # URLError and timeouts are OSErrors


def download(url: str, target: Path, *, sha256: str = "", size: int | None = None) -> None:
    """Fetches `url` to `target`, which appears only when it is complete and its checksum right.

    What arrived lies in TARGET.part; a later call goes on from there. Processes that want the
    same file wait for the one that fetches it.
    Raises: ConnectionError that says what to put where; ValueError for a wrong checksum (the
        partial file is then removed).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with FileLock(f"{target}.lock"):
        if target.is_file():
            return
        _fetch(url, part, target, size)
        found = file_sha256(part)
        if sha256 and found != sha256:
            part.unlink()
            raise ValueError(
                f"{url} is damaged or has changed: its sha256 is {found}, expected {sha256}; "
                "nothing was kept; try again"
            )
        os.replace(part, target)


def _fetch(url: str, part: Path, target: Path, size: int | None) -> None:
    """Fills `part`, beginning where an earlier call stopped; a broken connection is taken up."""
    failures = 0
    while True:
        before = _length(part)
        try:
            if _transfer(url, part, size):
                return
            reason = "the connection ended early"
        except urllib.error.HTTPError as error:
            raise _failure(url, target, part, f"HTTP {error.code} {error.reason}") from error
        except _NETWORK_ERRORS as error:
            if getattr(error, "filename", None):  # of our own file: a full disk, no permission
                raise
            reason = str(getattr(error, "reason", "") or error) or type(error).__name__
        failures = 0 if _length(part) > before else failures + 1
        if failures >= ATTEMPTS:
            raise _failure(url, target, part, reason)
        time.sleep(PAUSE * 2 ** max(0, failures - 1) if failures else 0)


def _transfer(url: str, part: Path, size: int | None) -> bool:
    """One request for what is missing; True when the file is complete."""
    have = _length(part)
    if size and have > size:
        part.unlink()
        have = 0
    request = urllib.request.Request(url, headers={"User-Agent": "frozenseg"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is missing
            return True
        raise
    with response:
        if response.status != 206:  # the server sends the whole file
            have = 0
        rest = response.headers.get("Content-Length")
        total = have + int(rest) if rest else size
        return _write(response, part, have, total, url.rpartition("/")[2])


def _write(response: Any, part: Path, have: int, total: int | None, title: str) -> bool:
    """Appends the answer to `part` from byte `have` on; True if it has `total` bytes then."""
    done = have
    with (
        part.open("ab" if have else "wb") as file,
        Progress(round((total or 0) / _MEGABYTE), f"download {title}", "MB") as progress,
    ):
        progress.advance(have / _MEGABYTE)
        while block := response.read(_BLOCK):
            file.write(block)
            done += len(block)
            progress.advance(len(block) / _MEGABYTE)
    return total is None or done >= total


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _failure(url: str, target: Path, part: Path, reason: str) -> ConnectionError:
    kept = (
        f" {_length(part):,} bytes are kept: the next try goes on there." if _length(part) else ""
    )
    return ConnectionError(
        f"cannot download {url} ({reason}).{kept} Without network: fetch it on another machine and "
        f"put it at {target}"
    )
