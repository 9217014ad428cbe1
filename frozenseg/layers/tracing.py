"""What code asks that torch.compile and torch.export trace, where sizes are symbols.

To branch on the value of a size would fix it, in the exported program for good.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def same_size(first: Sequence[int], second: Sequence[int]) -> bool:
    """Whether two sizes are equal; of traced ones, whether they are for every value."""
    if not torch.compiler.is_compiling():
        return tuple(first) == tuple(second)
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    return all(statically_known_true(a == b) for a, b in zip(first, second, strict=True))
