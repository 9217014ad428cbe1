"""The evaluator that writes per_image/DATASET.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from frozenseg.evaluation.per_image import keep_images, per_image_of, write_per_image


class PerImageWriter(DatasetEvaluator):
    """Writes what other evaluators counted of every image; scores nothing itself.

    Nothing is written where none of them is of `per_image.KINDS` (average precision is not a sum).
    """

    def __init__(
        self, path: Path, evaluators: Sequence[DatasetEvaluator], about: Mapping[str, Any]
    ) -> None:
        """
        Args:
            evaluators: of the same run; those that count keep the counts of every image from now.
            about: has the entries `per_image.IDENTITY`.
        """
        self.path, self.about = path, about
        self.evaluators = keep_images(evaluators)

    def evaluate(self) -> dict[str, Any] | None:
        """{}, on the main process, when the file is there. Raises: NotWrittenError."""
        for one in self.evaluators:
            parts = comm.gather(one.per_image)
            if comm.is_main_process():
                one.per_image = {key: counts for part in parts for key, counts in part.items()}
        if not comm.is_main_process():
            return None
        record = per_image_of(self.evaluators, self.about)
        if record is not None:
            write_per_image(self.path, record)
        return {}
