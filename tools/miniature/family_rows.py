"""The rows and columns of the miniature table of tools/miniature_family.py."""

from __future__ import annotations

from typing import NamedTuple

SCORES = ("PQ", "SQ", "RQ", "AP", "mIoU")
# What a query that COAT lets speak says.
SPOKEN = ("right", "wrong name", "again", "nothing")


class Row(NamedTuple):
    """A combination: how masks get their classes, and which masks.

    Attributes:
        adapter: CLIP looks at masks through the Mask-Adapter, which sees their pixels of a
            probability above `threshold`.
        alpha, beta: of the class ensemble.
        trust: COAT's w.
        proposals: SAM's masks join the queries.
        perfect_void: the truth decides which query is "no object": all but the best of each true
            segment. It shows what a rule of void can bring.
        panoptic_alone: AP and mIoU are not scored.
    """

    adapter: bool = False
    alpha: float = 0.4
    beta: float = 0.8
    threshold: float = 0.5
    trust: float = 0.0
    proposals: bool = False
    perfect_void: bool = False
    panoptic_alone: bool = False

    @property
    def tasks(self) -> tuple[str, ...]:
        """What is scored; COAT and void change the panoptic task alone."""
        alone = self.panoptic_alone or self.trust or self.perfect_void
        return ("panoptic",) if alone else ("panoptic", "instance", "semantic")
