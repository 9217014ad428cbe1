"""Resumable, checksum-verified downloads: gdown's, which also knows Google Drive."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from filelock import FileLock  # torch and huggingface_hub need it: always installed

from frozenseg.files import check_digest, file_sha256, record_digest
from frozenseg.progress import Progress

logger = logging.getLogger(__name__)

RETRIES = 3  # in a row without a single new byte
HUB_TIMEOUT = 5.0  # seconds for a connection to the hub
TIMEOUT = 30.0  # seconds without an answer
_MEGABYTE = 1e6
_SHA256_DIGITS = 64


def download(url: str, target: Path, *, sha256: str = "", source: str = "") -> None:
    """Fetches `url` to `target`, which appears only when it is complete and its checksum right.

    What arrived lies in the folder TARGET.download; a later call continues from there. Processes
    that want the same file wait for the one that fetches it.

    Args:
        sha256: hexadecimal; "" where none is published: that of the file is then logged and kept
            beside it, for `check_digest`.
        source: where a person finds the file, for the message of an error.
    Raises: ConnectionError that says what to put where; ValueError for a wrong checksum (the
        partial file is then removed).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f"{target.name}.download")
    with FileLock(f"{target}.lock"):
        if target.is_file():
            return
        folder.mkdir(exist_ok=True)
        whole = _fetch(url, folder, target, source)
        found = file_sha256(whole)
        if sha256 and found != sha256:
            shutil.rmtree(folder)
            raise ValueError(
                f"{url} is damaged or has changed: its sha256 is {found}, expected {sha256}; "
                "nothing was kept; try again"
            )
        if not sha256:
            logger.info("%s: no checksum is published; its sha256 is %s", target.name, found)
            record_digest(target, found)
        os.replace(whole, target)
        shutil.rmtree(folder)


def check_hub_file(path: Path) -> Path:
    """A file of the Hugging Face hub's cache, checked.

    Large files lie there under their published SHA-256; others are compared with their first use.
    Raises: ValueError as `check_digest`.
    """
    blob = path.resolve().name
    check_digest(path, blob if len(blob) == _SHA256_DIGITS else "")
    return path


@contextmanager
def hub_access(what: str, remedy: str) -> Iterator[None]:
    """Within it a file of the Hugging Face hub is fetched, or found in the hub's own cache.

    Where the hub cannot be reached its clients would try again for minutes; here they do not try.
    Args: remedy: how else to come by the file.
    Raises: ConnectionError for whatever goes wrong, with the ways out.
    """
    from huggingface_hub import constants

    is_offline = constants.HF_HUB_OFFLINE
    reached = _is_reachable(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = is_offline or not reached
    try:
        yield
    except Exception as error:  # the hub clients raise exceptions of many libraries
        where = "" if reached else f"{constants.ENDPOINT} cannot be reached; "
        raise ConnectionError(
            f"{what}: download failed ({where}{type(error).__name__}: {error}). Try again with a "
            f"network; or {remedy}; or take a checkpoint that holds these weights (--weights)"
        ) from error
    finally:
        constants.HF_HUB_OFFLINE = is_offline


def _is_reachable(address: str) -> bool:
    """Whether a server answers, as far as can be told in seconds; true behind a proxy."""
    url = urlsplit(address)
    if getproxies().get(url.scheme) and not proxy_bypass(url.hostname or ""):
        return True
    try:
        port = url.port or (80 if url.scheme == "http" else 443)
        socket.create_connection((url.hostname or "", port), HUB_TIMEOUT).close()
    except OSError:
        return False
    return True


def _fetch(url: str, folder: Path, target: Path, source: str) -> Path:
    """The whole file in `folder`; continues as long as every attempt brings something new."""
    from gdown.exceptions import DownloadError
    from requests import HTTPError, RequestException

    while True:
        before = _bytes_in(folder)
        try:
            return _transfer(url, folder / target.name)
        except HTTPError as error:
            answer = error.response
            reason = f"HTTP {answer.status_code} {answer.reason}" if answer is not None else ""
            raise _failure(url, folder, target, source, reason) from error
        except (RequestException, DownloadError) as error:
            if before and "byte range" in str(error):  # the server only sends whole files
                shutil.rmtree(folder)
                folder.mkdir()
            elif _bytes_in(folder) <= before:
                reason = str(error).split("\n")[0]
                raise _failure(url, folder, target, source, reason) from error


def _transfer(url: str, whole: Path) -> Path:
    """One call of gdown, with our progress bar.

    What it has, in steps of 512 kB, it keeps in the folder of `whole`.
    """
    import gdown

    with ExitStack() as stack:
        bars: list[Progress] = []
        shown = 0.0

        def progress(done: int, total: int | None) -> None:
            nonlocal shown
            if not bars:
                title = f"download {whole.name}"
                bar = Progress(round((total or 0) / _MEGABYTE), title, "MB")
                bars.append(stack.enter_context(bar))
            bars[0].advance(done / _MEGABYTE - shown)
            shown = done / _MEGABYTE

        gdown.download(
            url,
            str(whole),
            quiet=True,
            use_cookies=False,
            resume=True,
            timeout=TIMEOUT,
            retries=RETRIES,
            progress=progress,
        )
    return whole


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _failure(url: str, folder: Path, target: Path, source: str, reason: str) -> ConnectionError:
    kept = _bytes_in(folder)
    note = f" {kept:,} bytes are kept: the next try continues from there." if kept else ""
    return ConnectionError(
        f"cannot download {url} ({reason}).{note} Otherwise fetch it with a browser or on another "
        f"machine{f' from {source}' if source else ''} and put it at {target}"
    )
