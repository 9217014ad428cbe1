"""One file over HTTP, taken up again where it broke off.

requests does the talking, and gdown knows the page that Google Drive puts before large files. gdown
can transfer files, too, but not across two calls: it would join the halves of two different files
where the server's was replaced in between, and keep a web page under the name of the weights.
"""

from __future__ import annotations

import html
import itertools
import logging
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import requests  # gdown needs it: always installed
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from frozenseg.files import read_typed, write_json
from frozenseg.progress import Progress

logger = logging.getLogger(__name__)

RETRIES = 3  # in a row without a single new byte
PAUSE = 0.5  # seconds before the first of them, twice as many before each further one
CONNECT, TIMEOUT = 10.0, 30.0  # seconds for a connection, seconds without an answer
_BUSY = (429, 500, 502, 503, 504)  # answers after which the next one may be another
_BLOCK = 1 << 16
_PAGE = 4  # blocks of a web page that are read
_MEGABYTE = 1e6
_NOT_IN_FILE = requests.codes.requested_range_not_satisfiable


class RefusedError(Exception):
    """The server does not give the file, and would not at once: the message says why."""


class _BrokenOffError(Exception):
    """The connection ended before the file did."""


class _Told(NamedTuple):
    """What a server says of a file; kept beside the part of it that has arrived.

    Attributes:
        version: its ETag or date; "" where the server tells neither.
        size: in bytes; None where the server does not say.
    """

    version: str
    size: int | None


def fetch(url: str, whole: Path, size: int | None = None) -> None:
    """Fetches `url` to `whole`, in a folder of its own; what is there is taken up again.

    After a break it goes on, as long as every attempt brings something new.

    Args: size: in bytes; None: not known.
    Raises: RefusedError; OSError for a folder that cannot be written or is too small.
    """
    idle = RETRIES  # where nothing has arrived yet, a failure is final
    while True:
        before = _bytes(whole)
        try:
            _transfer(url, whole, size)
            return
        except (requests.ConnectionError, requests.Timeout, _BrokenOffError) as error:
            arrived = _bytes(whole)
            idle = 0 if arrived > before else idle + 1
            if idle > RETRIES:
                raise RefusedError(_reason(error)) from error
            logger.info("%s: %s after %d bytes; going on", whole.name, _reason(error), arrived)
            time.sleep(PAUSE * 2**idle)
        except requests.RequestException as error:
            raise RefusedError(_reason(error)) from error


def _transfer(url: str, whole: Path, size: int | None) -> None:
    """One attempt: appends to what is there if that is the beginning of the server's file."""
    known = _read_note(whole)
    done = _bytes(whole) if known else 0
    with _session() as session:
        answer = _ask(session, url, done, known)
        if done and not _continues(answer, done, known):
            logger.info("%s: the server has another file now, or only sends whole ones", whole.name)
            done = 0
            if answer.status_code != requests.codes.ok:
                answer = _ask(session, url, 0, None)
        told = _told(answer)
        if size and told and told.size and told.size != size:
            raise RefusedError(
                f"the server's file has {told.size:,} bytes, the published one {size:,}"
            )
        _receive(answer, whole, done, told)


def _session() -> requests.Session:
    """Tries again where the server is busy, but not where there is none."""
    retry = Retry(
        status=RETRIES,
        connect=0,
        read=0,
        other=0,
        status_forcelist=_BUSY,
        backoff_factor=PAUSE,
        raise_on_status=False,
        respect_retry_after_header=False,  # it may ask for an hour
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _ask(session: requests.Session, url: str, done: int, known: _Told | None) -> requests.Response:
    """The server's answer, whose body is the file or its rest after `done` bytes.

    Raises: RefusedError for a web page in its place.
    """
    headers = {"Accept-Encoding": "identity", "Accept-Language": "en"}  # offsets are the file's
    if done and known:
        headers["Range"] = f"bytes={done}-"
        headers |= {"If-Range": known.version} if known.version else {}
    answer = _get(session, url, headers)
    page = _page(answer)
    if page and (address := _behind(page)):
        answer = _get(session, address, headers)
        page = _page(answer)
    if page:
        raise RefusedError(_describe(page))
    return answer


def _get(session: requests.Session, url: str, headers: dict[str, str]) -> requests.Response:
    answer = session.get(url, headers=headers, stream=True, timeout=(CONNECT, TIMEOUT))
    if url.startswith("https:") and not answer.url.startswith("https:"):
        raise RefusedError(f"it leads to {answer.url}, which is not encrypted")
    if answer.status_code != _NOT_IN_FILE or "Range" not in headers:
        answer.raise_for_status()
    return answer


def _told(answer: requests.Response) -> _Told | None:
    """What an answer says of the whole file; None where its bytes cannot be counted."""
    headers = answer.headers
    if headers.get("Content-Encoding", "identity") != "identity":
        return None
    version = headers.get("ETag", "W/")
    if version.startswith("W/"):
        version = headers.get("Last-Modified", "")
    total = headers.get("Content-Range", "").rpartition("/")[2] or headers.get("Content-Length", "")
    size = int(total) if total.isdigit() else None
    return _Told(version, size) if version or size is not None else None


def _continues(answer: requests.Response, done: int, known: _Told | None) -> bool:
    """Whether an answer is the rest, after `done` bytes, of the file that `known` tells of."""
    told = _told(answer)
    return (
        answer.status_code == requests.codes.partial_content
        and answer.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        and told is not None
        and known is not None
        and told.size == known.size
        and told.version in ("", known.version)
    )


def _receive(answer: requests.Response, whole: Path, done: int, told: _Told | None) -> None:
    """Writes the body, after the `done` bytes that stay of `whole`.

    Raises: RefusedError for a web page; _BrokenOffError; OSError where there is no room.
    """
    total = told.size if told else None
    room = shutil.disk_usage(whole.parent).free
    if total and total - done > room:
        raise OSError(
            f"{whole.parent}: {whole.name} needs {total - done:,} more bytes and there is room for "
            f"{room:,}: make room, or set FROZENSEG_CACHE to another folder"
        )
    _note(whole).unlink(missing_ok=True)
    blocks = answer.iter_content(_BLOCK)
    with whole.open("ab" if done else "wb") as file:
        if told:
            write_json(_note(whole), told)
        megabytes = round(total / _MEGABYTE) if total else None
        title = f"download {whole.name}"
        with Progress(megabytes, title, "MB", done=round(done / _MEGABYTE)) as progress:
            try:
                for block in blocks:
                    if not done and _looks_like_page(block):
                        raise RefusedError(_describe(block.decode(errors="replace")))
                    file.write(block)
                    done += len(block)
                    progress.advance(len(block) / _MEGABYTE)
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                raise _BrokenOffError("the connection broke") from error
    if total is not None and done != total:
        raise _BrokenOffError(f"{done:,} of {total:,} bytes came")


def _note(whole: Path) -> Path:
    return whole.with_name("server.json")


def _read_note(whole: Path) -> _Told | None:
    """What the server said of the file whose part is there; None where that is not known."""
    if not _note(whole).is_file():
        return None
    try:
        return read_typed(_note(whole), _Told)
    except ValueError:
        return None


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _looks_like_page(block: bytes) -> bool:
    return block[:_BLOCK].lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))


def _page(answer: requests.Response) -> str:
    """The beginning of a web page; "" for any other answer."""
    if not answer.ok or not answer.headers.get("Content-Type", "").startswith("text/html"):
        return ""
    blocks = itertools.islice(answer.iter_content(_BLOCK), _PAGE)
    return b"".join(blocks).decode(errors="replace") or "<html>"


def _behind(page: str) -> str:
    """The address of the file behind Google Drive's virus-scan page; "" for another page."""
    from gdown.download import get_url_from_gdrive_confirmation
    from gdown.exceptions import FileURLRetrievalError

    if not re.search(r"download-form|uc\?export=download", page):  # gdown takes its time
        return ""
    try:
        return str(get_url_from_gdrive_confirmation(page))
    except FileURLRetrievalError:
        return ""


def _describe(page: str) -> str:
    """Why a web page came, in its own words where it has a title."""
    title = _text(re.search(r"<title[^>]*>(.*?)</title>", page, re.DOTALL | re.IGNORECASE))
    words = _text(re.search(r'class="uc-error-subcaption">(.*?)</p>', page, re.DOTALL))
    said = f" {title!r}" if title else ""
    return f"the server sends a web page{said} in place of the file{f': {words}' if words else ''}"


def _text(found: re.Match[str] | None) -> str:
    return " ".join(html.unescape(re.sub("<[^>]+>", " ", found[1])).split()) if found else ""


def _reason(error: Exception) -> str:
    """What went wrong, without the names of libraries."""
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return f"it leads to an address that is not http: {error}"
    cause: BaseException | None = error
    while cause is not None:  # the system's own words lie below those of three libraries
        if isinstance(cause, TimeoutError):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return " ".join(str(error).split())
