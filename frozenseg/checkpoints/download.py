"""Downloads that appear whole and checked, or not at all; files of the Hugging Face hub."""

from __future__ import annotations

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from filelock import FileLock, Timeout  # torch and huggingface_hub need it: always installed

from frozenseg.files import check_digest, file_sha256, record_digest

logger = logging.getLogger(__name__)

HUB = "https://huggingface.co"
HUB_TIMEOUT = 5.0  # seconds for a connection to the hub
_SHA256_DIGITS = 64
_OTHERWISE = "; or take a checkpoint that holds these weights (--weights)"


def download(
    url: str, target: Path, *, sha256: str = "", size: int | None = None, source: str = ""
) -> None:
    """Fetches `url` to `target`, which appears only when it is complete and its checksum right.

    What arrived lies in the folder TARGET.download; a later call continues from there. Processes
    that want the same file wait for the one that fetches it. Of the Hugging Face hub's addresses
    $HF_ENDPOINT may name a mirror.

    Args:
        sha256: hexadecimal; "" where none is published: that of the file is then logged and kept
            beside it, for `check_digest`.
        size: in bytes; None where none is published.
        source: where a person finds the file, for the message of an error.
    Raises: ConnectionError that says what to put where; ValueError for a wrong checksum or size
        (the partial file is then removed); OSError for a folder that cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f"{target.name}.download")
    with _locked(target):
        if target.is_file():
            return
        folder.mkdir(exist_ok=True)
        whole = folder / target.name
        _fetch(url, whole, target, size, source)
        found, length = file_sha256(whole), whole.stat().st_size
        expected = sha256 or found
        if found != expected or length != (size or length):
            shutil.rmtree(folder)
            raise ValueError(
                f"{url} is damaged or has changed: it has {length:,} bytes and its sha256 is "
                f"{found}, expected {f'{size:,} bytes and ' if size else ''}{expected}; nothing "
                "was kept; try again"
            )
        if not sha256:
            logger.info("%s: no checksum is published; its sha256 is %s", target.name, found)
            record_digest(target, found)
        os.replace(whole, target)
        shutil.rmtree(folder)


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Within it no other process fetches `target`."""
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("%s: another process fetches it; waiting", target.name)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _fetch(url: str, whole: Path, target: Path, size: int | None, source: str) -> None:
    from huggingface_hub import constants

    from frozenseg.checkpoints.transfer import RefusedError, fetch

    on_hub = url.startswith(f"{HUB}/")
    address = constants.ENDPOINT + url.removeprefix(HUB) if on_hub else url
    try:
        if on_hub and constants.HF_HUB_OFFLINE:
            raise RefusedError("HF_HUB_OFFLINE is set")
        fetch(address, whole, size)
    except RefusedError as error:
        kept = whole.stat().st_size if whole.is_file() else 0
        note = f" {kept:,} bytes are kept: the next try continues from there." if kept else ""
        if not kept:
            shutil.rmtree(whole.parent)
        raise ConnectionError(
            f"cannot download {address} ({error}).{note} Otherwise fetch it with a browser or on "
            f"another machine{f' from {source}' if source else ''} and put it at {target}"
        ) from error


def check_hub_file(path: Path) -> Path:
    """A file of the Hugging Face hub's cache, checked.

    Large files lie there under their published SHA-256; others are compared with their first use.
    Raises: ValueError as `check_digest`.
    """
    blob = path.resolve().name
    check_digest(path, blob if len(blob) == _SHA256_DIGITS else "")
    return path


@contextmanager
def hub_access(what: str, remedy: str, otherwise: str = _OTHERWISE) -> Iterator[None]:
    """Within it a file of the Hugging Face hub is fetched, or found in the hub's own cache.

    Where the hub cannot be reached its clients would try again for minutes; here they do not try.
    Args: remedy, otherwise: how else to come by the file.
    Raises: ConnectionError for whatever goes wrong, with the ways out.
    """
    from huggingface_hub import constants

    is_offline = constants.HF_HUB_OFFLINE
    reached = _is_reachable(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = is_offline or not reached
    try:
        yield
    except Exception as error:  # the hub clients raise exceptions of many libraries
        first: BaseException = error  # the hub's clients wrap it in errors that do not say why
        while cause := first.__cause__ or first.__context__:
            first = cause
        reason = f"{type(first).__name__}: {str(first).partition(chr(10))[0]}"
        if is_offline:
            reason = "HF_HUB_OFFLINE is set, and the hub's cache on this machine has no such file"
        elif not reached:
            reason = f"{constants.ENDPOINT} cannot be reached"
        raise ConnectionError(
            f"{what}: download failed ({reason}). Try again with a network; or {remedy}{otherwise}"
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
