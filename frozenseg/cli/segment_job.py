"""What is done with every image and frame, and what result files say about it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.predict.tasks import FILE_KINDS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from frozenseg.predict.segmentation import Segmentation
    from frozenseg.predict.segmenter import Segmenter
    from frozenseg.vocab import Vocabulary


# Options of the command line that go to the segmenter as they are, and into the result files.
SETTINGS = ("score_threshold", "background")


@dataclass
class Counts:
    """Files by what became of them: segmented, done before, not readable."""

    done: int = 0
    kept: int = 0
    bad: int = 0

    @property
    def total(self) -> int:
        """The number of files met."""
        return self.done + self.kept + self.bad

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.done + other.done, self.kept + other.kept, self.bad + other.bad)


@dataclass(frozen=True)
class Job:
    """The model, the words and the results that are wanted.

    Attributes:
        settings: what `Segmenter.batch` takes beside words and task, by name (`SETTINGS`).
        folder: of the results.
        kinds: which of overlay, sheet, labels, json are written.
        batch_size: images that go through the model together.
        every: of a video, every how many frames are segmented.
        max_frames: of a video or camera; None: all.
        overwrite: segment again what has been segmented in the same way.
    """

    segmenter: Segmenter
    vocabulary: Vocabulary
    task: str = "panoptic"
    settings: Mapping[str, Any] = field(default_factory=lambda: dict.fromkeys(SETTINGS))
    folder: Path = Path("output/demo")
    kinds: frozenset[str] = frozenset(FILE_KINDS)
    batch_size: int = 1
    every: int = 1
    max_frames: int | None = None
    overwrite: bool = False

    def segment(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """The segmentations of some images."""
        return self.segmenter.batch(images, self.vocabulary, self.task, **self.settings)

    def about_settings(self) -> dict[str, Any]:
        """What changes results beside the model, the words and the task."""
        return {"precision": self.segmenter.predictor.precision, **self.settings}

    def about_image(self, path: Path) -> dict[str, Any]:
        """What an image's JSON file says first: where everything in it comes from."""
        return self._about("image", path, self.about_settings())

    def about_video(self, path: Path) -> dict[str, Any]:
        """The same of a video."""
        more = {"every": self.every, "max_frames": self.max_frames}
        return self._about("video", path, self.about_settings() | more)

    def words(self) -> dict[str, Any]:
        """Task and words as they are in JSON files."""
        import numpy as np

        from frozenseg.predict.segmentation import Segmentation

        empty = Segmentation(np.zeros((1, 1), np.int32), (), self.vocabulary, self.task).to_json()
        return {key: empty[key] for key in ("format_version", "task", "vocabulary")}

    def is_done(self, paths: Collection[Path], record: Path, about: dict[str, Any]) -> bool:
        """Whether all files are there and were made of the same file in the same way.

        Args:
            record: the JSON file that says how they were made, and that is written last; without it
                nothing is known.
        """
        if self.overwrite or "json" not in self.kinds:
            return False
        if not all(path.is_file() for path in (*paths, record)):
            return False
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        wanted = json.loads(json.dumps({**about, **self.words()}))
        if not isinstance(found, dict) or any(found.get(key) != wanted[key] for key in wanted):
            return False
        return _are_described([path for path in paths if path != record], record, found)

    def _about(self, kind: str, path: Path, settings: dict[str, Any]) -> dict[str, Any]:
        model = dict(self.segmenter.about)
        if model.get("weights"):
            model["weights_file"] = stamp(Path(model["weights"]))
        return {kind: str(path), "file": stamp(path), "model": model, "settings": settings}


def _are_described(paths: Collection[Path], record: Path, found: Mapping[str, Any]) -> bool:
    """Whether a record is about these files: not of an earlier call, nor written again since."""
    files = found.get("files")
    names = set(files.values()) if isinstance(files, dict) else set()
    time = record.stat().st_mtime_ns
    return all(path.name in names and path.stat().st_mtime_ns <= time for path in paths)


def stamp(path: Path) -> dict[str, float] | None:
    """Size and time of a file: another file of the same name has others. None for no file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return {"bytes": state.st_size, "modified": round(state.st_mtime, 3)}
