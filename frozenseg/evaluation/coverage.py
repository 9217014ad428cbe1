"""That an evaluation saw every image, and none twice: a mistake there changes scores silently."""

from __future__ import annotations

from collections import Counter
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm


class CoverageCheck(DatasetEvaluator):
    """Counts the images of all processes; gives no scores.

    Samplers that fill up the last batches with repeated images, as PyTorch's DistributedSampler
    does, are found here (detectron2's test loader shares the images out without repeats).
    """

    def __init__(self, images: int) -> None:
        """`images`: how many the data set has."""
        self.images = images
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.seen: Counter[str] = Counter()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images."""
        self.seen.update(str(record["file_name"]) for record in inputs)

    def evaluate(self) -> dict[str, Any] | None:
        """{}, on the main process. Raises: ValueError for repeated or missing images."""
        parts = comm.gather(self.seen)
        if not comm.is_main_process():
            return None
        total: Counter[str] = sum(parts, Counter())
        repeated = sorted(name for name, times in total.items() if times > 1)
        if repeated:
            raise ValueError(
                f"{len(repeated)} images were scored more than once, such as {repeated[0]}: the "
                "test loader must give every image once, to one process"
            )
        if len(total) != self.images:
            raise ValueError(f"{len(total)} of {self.images} images were scored: run it again")
        return {}
