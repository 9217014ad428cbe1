"""That an evaluation saw every item, and none twice: a mistake there changes scores silently.

An item is an image; where classes are asked for one by one, an image and a class of it.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm


class CoverageCheck(DatasetEvaluator):
    """Counts the items of all processes; gives no scores.

    Samplers that fill up the last batches with repeated images, as PyTorch's DistributedSampler
    does, are found here (detectron2's test loader shares the images out without repeats).
    """

    def __init__(self, items: int) -> None:
        """`items`: how many records the data set has."""
        self.items = items
        self.reset()

    def reset(self) -> None:
        """Forgets all items."""
        self.seen: Counter[str] = Counter()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds items."""
        self.seen.update(_item(record) for record in inputs)

    def evaluate(self) -> dict[str, Any] | None:
        """{}, on the main process. Raises: ValueError for repeated or missing items."""
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
        if len(total) != self.items:
            raise ValueError(f"{len(total)} of {self.items} images were scored: run it again")
        return {}


def _item(record: dict[str, Any]) -> str:
    """What tells an item apart: its file, and its classes where they are asked for."""
    name = str(record["file_name"])
    return f"{name} {tuple(record['asked'])}" if "asked" in record else name
