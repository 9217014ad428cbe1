"""What evaluators share that sum counts of every class over the images."""

from __future__ import annotations

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from frozenseg.evaluation.averages import Groups


class CountingEvaluator(DatasetEvaluator):
    """Keeps counts (C, `columns`), float64, one row per class.

    Attributes:
        columns: names of what is counted; subclasses say which.
        counts: the sums of this process.
    """

    columns: tuple[str, ...]

    def __init__(self, class_names: tuple[str, ...], groups: Groups) -> None:
        """`groups`: boolean class masks by name, see `class_groups`."""
        self.class_names = class_names
        self.groups = groups
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.counts = np.zeros((len(self.class_names), len(self.columns)))

    def gathered(self) -> np.ndarray | None:
        """The counts of all processes, on the main process; None on the others."""
        parts = comm.gather(self.counts)
        return np.sum(parts, axis=0) if comm.is_main_process() else None
