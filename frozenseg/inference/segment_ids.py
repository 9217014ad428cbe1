"""Which queries compete and which become segments; numbers alone, so that torch is not needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def best_of_duplicates(
    both_NN: NDArray[np.floating[Any]], scores_N: NDArray[np.floating[Any]], max_iou: float
) -> NDArray[np.bool_]:
    """Non-maximum suppression of masks: which of N stay (N,).

    From the best score down, a mask goes whose IoU with one that stays is above `max_iou`.
    Args: both_NN: pixels that two masks share; on the diagonal their areas.
    """
    area_N = both_NN.diagonal()
    either_NN = area_N[:, None] + area_N - both_NN
    close_NN = both_NN > max_iou * either_NN
    stays_N = np.zeros(len(scores_N), dtype=bool)
    for n in np.argsort(-scores_N, kind="stable"):
        stays_N[n] = not (close_NN[n] & stays_N).any()
    return stays_N


def assign_ids(
    winners: Iterable[tuple[int, float, int, int, int]],
    is_thing: Sequence[bool],
    overlap_threshold: float,
) -> tuple[list[int], list[dict[str, Any]]]:
    """Ids, from 1, of the segments that keep enough of their mask; stuff of a class shares one.

    Args:
        winners: of every query that takes part, in order: class, score, pixels of its mask, pixels
            that it won, pixels of its mask that it won.
        is_thing: of every class.
        overlap_threshold: smallest share that is won of the mask's pixels.
    Returns: the id for every value of a map that has 0 for nobody and place + 1 for a winner, and
        `PanopticSegmentation.segments_info`.
    """
    id_of_winner = [0]
    segments_info: list[dict[str, Any]] = []
    id_of_stuff: dict[int, int] = {}
    for category, score, area, won, painted in winners:
        # A painted pixel has a probability of at least 0.5: the area is not zero either.
        if not painted or won / area < overlap_threshold:
            id_of_winner.append(0)
            continue
        if category in id_of_stuff:
            merged = segments_info[id_of_stuff[category] - 1]
            merged["score"] = max(merged["score"], score)
            id_of_winner.append(merged["id"])
            continue
        segment_id, thing = len(segments_info) + 1, is_thing[category]
        info = {"id": segment_id, "isthing": thing, "category_id": category, "score": score}
        segments_info.append(info)
        id_of_winner.append(segment_id)
        if not thing:
            id_of_stuff[category] = segment_id
    return id_of_winner, segments_info
