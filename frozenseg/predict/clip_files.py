"""The result files of one video, written frame by frame.

Legend: H and W pixels. Frames are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.files import NotWrittenError, part_path, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from frozenseg.predict.segmentation import Segmentation
    from frozenseg.predict.video import ClipWriter, Frame

MEASURED_FRAMES = 8  # of a camera: their times say at which rate the clip is played
RATES = (1.0, 120.0)  # the slowest and fastest of a camera's clip


class ClipFiles:
    """NAME_overlay.mp4 (or .avi), NAME.jsonl and NAME.json; none is there before `finish`."""

    def __init__(
        self, folder: Path, name: str, *, kinds: Collection[str], fps: float | None
    ) -> None:
        """
        Args:
            kinds: "overlay": the clip; "json": both JSON files.
            fps: of the clip; None: measured on the first frames.
        """
        self.frames = 0
        self.fps = fps
        self.size: tuple[int, int] | None = None
        self._folder, self._name, self._kinds = folder, name, kinds
        self._clip: ClipWriter | None = None
        self._waiting: list[tuple[float, NDArray[np.uint8]]] = []
        self._part = part_path(folder / f"{name}.jsonl")
        self._lines = self._part.open("w", encoding="utf-8") if "json" in kinds else None

    def add(self, frame: Frame, segmentation: Segmentation, segmented_frame: int) -> None:
        """The next frame, with the segmentation of this one or an earlier one."""
        self.frames += 1
        self.size = frame.image_HW3.shape[0], frame.image_HW3.shape[1]
        if self._lines is not None:
            line = {
                "frame": frame.number,
                "seconds": round(frame.seconds, 4),
                "segmented_frame": segmented_frame,
                "segments": segmentation.segments_json(),
            }
            self._write_line(json.dumps(line, ensure_ascii=False) + "\n")
        if "overlay" in self._kinds:
            self._waiting.append((frame.seconds, segmentation.overlay(frame.image_HW3)))
            if self.fps is not None or len(self._waiting) >= MEASURED_FRAMES:
                self._write_waiting()

    def finish(self, about: dict[str, Any]) -> dict[str, Path]:
        """Gives the files their names; the paths by kind. `about` is what NAME.json says.

        Raises: OSError if a file could not be written; then there is none of this call.
        """
        paths: dict[str, Path] = {}
        try:
            self._write_waiting()
            if self._clip is not None:
                paths["overlay"] = self._clip.finish()
            if self._lines is not None:
                self._write_line("", last=True)
                paths["segments"] = self._folder / f"{self._name}.jsonl"
                os.replace(self._part, paths["segments"])
                paths["json"] = self._write_about(about, paths)
        finally:
            self.discard()
        return paths

    def discard(self) -> None:
        """Removes what is not finished."""
        if self._clip is not None:
            self._clip.discard()
        if self._lines is not None:
            with contextlib.suppress(OSError):  # what a full disk did not take
                self._lines.close()
        self._part.unlink(missing_ok=True)

    def _write_line(self, line: str, *, last: bool = False) -> None:
        assert self._lines is not None
        try:
            self._lines.write(line)
            if last:
                self._lines.close()
        except OSError as error:
            raise NotWrittenError(self._folder / f"{self._name}.jsonl", error) from error

    def _write_waiting(self) -> None:
        from frozenseg.predict.video import ClipWriter

        if self._clip is None and self._waiting and self.size is not None:
            if self.fps is None:
                self.fps = _measured([seconds for seconds, _ in self._waiting])
            self._clip = ClipWriter(self._folder / f"{self._name}_overlay", self.size, self.fps)
        for _, image_HW3 in self._waiting:
            assert self._clip is not None
            self._clip.write(image_HW3)
        self._waiting.clear()

    def _write_about(self, about: dict[str, Any], paths: dict[str, Path]) -> Path:
        height, width = self.size or (0, 0)
        content = {
            **about,
            "image_size": {"height": height, "width": width},
            "fps": self.fps,
            "frames": self.frames,
            "files": {kind: path.name for kind, path in paths.items()},
        }
        path = self._folder / f"{self._name}.json"
        write_json(path, content, ensure_ascii=False)
        return path


def _measured(seconds: list[float]) -> float:
    """Frames per second from the times of the first ones; the first itself is slow to come."""
    later = seconds[1:]
    if len(later) < 2 or later[-1] <= later[0]:
        return RATES[0] if len(later) < 2 else RATES[1]
    slowest, fastest = RATES
    return round(min(fastest, max(slowest, (len(later) - 1) / (later[-1] - later[0]))), 2)
