"""Writing clips, frame by frame (`video` reads them).

Legend: H and W pixels. Frames are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from frozenseg.engine.video import open_capture, quiet_opencv


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
        stem.parent.mkdir(parents=True, exist_ok=True)
        self.written, self._fps = 0, fps
        even = not any(side % 2 for side in size)
        for suffix in (".mp4", ".avi") if even else (".avi",):
            self.path = stem.with_name(stem.name + suffix)
            part = f".{stem.name}.{os.getpid()}.part{suffix}"
            self._part = stem.absolute().with_name(part)  # FFmpeg: see open_video
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
            raise OSError(
                f"{self.path}: only {max(0, there)} of {self.written} frames could be written: is "
                "the disk full?"
            )


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
