"""How a model works while a data set is scored: no more than what is scored, and with its row."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import nn

from frozenseg.data.benchmark import Benchmark


@contextmanager
def settings_for(model: nn.Module, row: Benchmark, scored: Collection[str]) -> Iterator[None]:
    """Within it the model's `task_settings` are those of a data set; models without are unchanged.

    - Semantic segmentation gives `semantic_labels` (H, W), not scores (C, H, W), which take
      gigabytes where a benchmark has a thousand classes.
    - The object-mask threshold of the row goes before the config's.
    - Tasks that nothing scores are left out. The scores of the others stay what they are: with
      instances, panoptic segmentation stays on, since it decides whether stuff may be among them.

    Args: scored: of "panoptic", "instance", "semantic", "regions".
    """
    owner: Any = model
    before = getattr(owner, "task_settings", None)
    if before is None:
        yield
        return
    threshold = row.object_mask_threshold
    owner.task_settings = replace(
        before,
        semantic=before.semantic and "semantic" in scored,
        semantic_argmax_only=True,
        panoptic=before.panoptic and bool({"panoptic", "instance"} & set(scored)),
        instance=before.instance and "instance" in scored,
        proposals=before.proposals and "regions" in scored,
        object_mask_threshold=before.object_mask_threshold if threshold is None else threshold,
    )
    try:
        yield
    finally:
        owner.task_settings = before
