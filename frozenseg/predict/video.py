"""Videos frame by frame, from files and cameras, and writing clips.

Legend: H and W pixels. Frames are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from frozenseg.data.image_files import is_not_utf8
from frozenseg.files import NotWrittenError, part_path

# These state the number of their frames; for others it is estimated from the duration.
COUNTED_SUFFIXES = frozenset((".3gp", ".avi", ".m4v", ".mov", ".mp4"))
USUAL_FPS = 25.0  # where a file states no frame rate
HIGHEST_FPS = 1000.0  # above, the file's time base was taken for its frame rate
MOST_FAILURES = 100  # one after another, before a video counts as ended


class Frame(NamedTuple):
    """A frame, its number among the readable ones (from 0), and its time in seconds."""

    number: int
    seconds: float
    image_HW3: NDArray[np.uint8]


class Video:
    """The frames of a video file or camera, one in memory at a time; an iterator and a context.

    All frames have the size of the first; turned videos come upright.

    Attributes:
        name: the path, or "webcam 0".
        is_live: a camera's: without end, with the times at which the frames came.
        fps: frames per second; None for a camera.
        fps_is_known: False if `fps` is `USUAL_FPS` because the file does not state it.
        announced: number of frames that the file states; None if it states none.
        read: frames read so far.
        ended: whether the end was reached.
        undecodable: frames so far that are in the file but could not be decoded.
    """

    def __init__(self, capture: Any, name: str, *, is_live: bool = False, exact: bool = True):
        """
        Args:
            capture: an opened cv2.VideoCapture.
            exact: the stated number of frames is not an estimate.
        """
        self.name, self.is_live = name, is_live
        self.read = self.undecodable = 0
        self.ended = False
        self._capture, self._exact = capture, exact
        self._size: tuple[int, int] | None = None
        self._start = 0.0
        stated = float(capture.get(cv2.CAP_PROP_FPS))
        self.fps_is_known = math.isfinite(stated) and 0 < stated <= HIGHEST_FPS
        self.fps = None if is_live else stated if self.fps_is_known else USUAL_FPS
        count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.announced = int(count) if 0 < count < 2**40 and not is_live else None

    @property
    def missing(self) -> int:
        """Frames of the file that could not be read so far, at its end also those never reached.

        A few are not counted where the stated number is an estimate.
        """
        behind = (self.announced or 0) - self.read if self.ended else 0
        tolerated = 0 if self._exact else 2 + (self.announced or 0) // 50
        return max(self.undecodable, behind if behind > tolerated else 0)

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        image_HW3 = self._next_image()
        if image_HW3 is None:
            self.ended = True
            raise StopIteration
        now = time.monotonic()
        self._start = self._start or now
        seconds = now - self._start if self.fps is None else self.read / self.fps
        self.read += 1
        return Frame(self.read - 1, seconds, image_HW3)

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._capture.release()

    def _next_image(self) -> NDArray[np.uint8] | None:
        """The next frame that can be decoded; None at the end."""
        for _ in range(MOST_FAILURES):
            if not self._capture.grab():
                return None
            try:
                decoded, frame = self._capture.retrieve()
            except cv2.error:
                decoded, frame = False, None
            if decoded and frame is not None and frame.size:
                return self._upright(frame)
            self.undecodable += 1
        return None

    def _upright(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB, at the size of the first frame."""
        code = cv2.COLOR_GRAY2RGB if frame.ndim == 2 else cv2.COLOR_BGR2RGB
        image_HW3 = np.asarray(cv2.cvtColor(frame, code), dtype=np.uint8)
        size = image_HW3.shape[1], image_HW3.shape[0]
        self._size = self._size or size
        return image_HW3 if size == self._size else cv2.resize(image_HW3, self._size)


def open_video(path: Path) -> Video:
    """The frames of a video file.

    Raises: FileNotFoundError; ValueError for a file that is empty, no video or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such video file")
    if is_not_utf8(str(path)):
        raise ValueError(f"{path}: OpenCV opens no file whose name is not UTF-8: rename it")
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty (0 bytes)")
    capture = open_capture(str(path.absolute()))  # FFmpeg takes "a:b.mp4" for a protocol
    if capture is None:
        raise ValueError(f"{path}: not a video that OpenCV can read, or damaged or incomplete")
    return Video(capture, str(path), exact=path.suffix.lower() in COUNTED_SUFFIXES)


def open_webcam(index: int) -> Video:
    """The frames of a camera. Raises: ValueError if there is none, or if another program has it."""
    capture = open_capture(index)
    if capture is None:
        raise ValueError(
            f"webcam {index}: no camera of this number, or another program uses it: try another "
            "number (0 is the first camera) or give a video file"
        )
    return Video(capture, f"webcam {index}", is_live=True)


def open_capture(source: str | int) -> Any:
    """A cv2.VideoCapture, or None if OpenCV cannot read the source."""
    with quiet_opencv():
        capture = cv2.VideoCapture(source)
        if not capture.isOpened():
            return None
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Without OpenCV's own lines on stderr: our errors say it in one."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when a file is opened
    before = cv2.getLogLevel() if hasattr(cv2, "getLogLevel") else None
    if before is not None:
        cv2.setLogLevel(0)
    try:
        yield
    finally:
        if before is not None:
            cv2.setLogLevel(before)


class ClipWriter:
    """Writes a clip that has its name when it is finished, not before.

    MPEG-4 in an .mp4 file; Motion JPEG in an .avi file where that codec is missing, and for odd
    sizes, of which OpenCV's MPEG-4 would cut off a row or column.

    Attributes:
        path: of the finished clip.
        written: frames so far.
    """

    def __init__(self, stem: Path, size: tuple[int, int], fps: float) -> None:
        """
        Args:
            stem: the path without suffix; its folder is made if needed.
            size: (H, W) of the frames.
        Raises: OSError if no clip can be written there.
        """
        self.written, self._fps = 0, fps
        even = not any(side % 2 for side in size)
        for suffix in (".mp4", ".avi") if even else (".avi",):
            self.path = stem.with_name(stem.name + suffix)
            self._part = part_path(self.path).absolute()  # FFmpeg: see open_video
            self._writer = _writer(self._part, fps, (size[1], size[0]))
            if self._writer.isOpened():
                return
            self.discard()
        raise OSError(f"{self.path}: OpenCV can write no clip of {size[1]} x {size[0]} pixels here")

    def write(self, image_HW3: NDArray[np.uint8]) -> None:
        """Adds a frame of the clip's size."""
        self._writer.write(cv2.cvtColor(image_HW3, cv2.COLOR_RGB2BGR))
        self.written += 1

    def finish(self) -> Path:
        """Gives the clip its name; the path. Raises: OSError if not all frames are in it."""
        self._writer.release()
        try:
            if self._part.suffix == ".avi":
                _state_rate(self._part, self._fps)
            self._check()
            os.replace(self._part, self.path)
        finally:
            self._part.unlink(missing_ok=True)
        return self.path

    def discard(self) -> None:
        """Removes what was written."""
        self._writer.release()
        self._part.unlink(missing_ok=True)

    def _check(self) -> None:
        """OpenCV does not say when a disk is full."""
        capture = open_capture(str(self._part))
        there = -1 if capture is None else round(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if there != self.written:
            frames = f"only {max(0, there)} of {self.written} frames"
            raise NotWrittenError(self.path, OSError(frames))


def _writer(path: Path, fps: float, size: tuple[int, int]) -> Any:
    """A cv2.VideoWriter, opened if OpenCV has the codec. Args: size: (W, H)."""
    with quiet_opencv():
        if path.suffix == ".mp4":
            return cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size)
        code, whole = cv2.VideoWriter.fourcc(*"MJPG"), float(max(1, round(fps)))
        return cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, code, whole, size)


def _state_rate(path: Path, fps: float) -> None:
    """Writes the frame rate into an .avi file: OpenCV rounds it to a whole number.

    Source: Microsoft's AVI RIFF file reference (dwMicroSecPerFrame; dwScale and dwRate).
    """
    rate = Fraction(fps).limit_denominator(100_000)
    with path.open("r+b") as file:
        head = file.read(1024)
        main, stream = head.find(b"avih"), head.find(b"strh")
        if main >= 0 and stream >= 0:
            file.seek(main + 8)
            file.write(struct.pack("<I", round(1_000_000 / rate)))
            file.seek(stream + 8 + 20)
            file.write(struct.pack("<II", rate.denominator, rate.numerator))
