"""The files that visitors uploaded: whose they are, and room for the next one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from frozenseg.web.limits import Limits

MOST_FILES_EACH = 16


class _File(NamedTuple):
    path: Path
    visitor: str
    bytes: int


class Uploads:
    """The folder in which gradio keeps uploads, each in a folder of its own."""

    def __init__(self, folder: Path, limits: Limits, in_use: Callable[[], set[str]]) -> None:
        """
        Args:
            folder: holds nothing else; made when needed.
            in_use: paths that must not go yet.
        """
        self._folder, self._limits, self._in_use = folder, limits, in_use
        self._owners: dict[Path, str] = {}

    def make_room(self, visitor: str, size: int) -> str:
        """Deletes a visitor's oldest files until one more of `size` bytes may come.

        Returns: why it may not come, "" if it may.
        """
        files = self._files()
        own = [file for file in files if file.visitor == visitor]
        in_use = self._in_use()
        for file in [file for file in own if str(file.path) not in in_use]:
            if len(own) < MOST_FILES_EACH and _bytes(own) + size <= self._limits.visitor_bytes:
                break
            _delete(file.path)
            own.remove(file)
            files.remove(file)
        if len(own) >= MOST_FILES_EACH or _bytes(own) + size > self._limits.visitor_bytes:
            return "Too many images of yours are waiting: let them finish first."
        if _bytes(files) + size > self._limits.disk_bytes:
            return "The server has no room for more images now: try again later."
        return ""

    def settle(self, visitor: str) -> None:
        """After an upload: what is new is this visitor's; what is no whole file goes."""
        for path in self._folder.glob("*"):
            if path.is_file():  # gradio leaves the parts of forms that it does not understand
                path.unlink()
        there = [path for path in self._folder.glob("*/*") if path.is_file()]
        self._owners = {path: self._owners.get(path, visitor) for path in there}

    def remove_older(self, seconds: float) -> None:
        """Deletes the files that are older."""
        for path in list(self._owners):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < time.time() - seconds:
                    _delete(path)

    def _files(self) -> list[_File]:
        """The oldest first."""
        files = []
        for path, visitor in self._owners.items():
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                stat = path.stat()
                files.append((stat.st_mtime, _File(path, visitor, stat.st_size)))
        return [file for _, file in sorted(files)]


def _bytes(files: list[_File]) -> int:
    return sum(file.bytes for file in files)


def _delete(path: Path) -> None:
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()
