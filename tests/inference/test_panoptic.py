from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference.panoptic import drop_duplicates, keep_queries
from frozenseg.inference.postprocess import solve_tasks
from frozenseg.structures import ImageGeometry, TaskSettings
from tests.one_task import panoptic_segmentation

SQUARE = ImageGeometry(padded=(8, 8), image=(8, 8), output=(8, 8))
RESIZED = ImageGeometry(padded=(48, 68), image=(41, 60), output=(50, 47))


def _plain(probs, masks, thing, threshold, overlap):
    """The definition, pixel by pixel on full masks."""
    scores, classes = probs.max(-1)
    kept = [
        query
        for query in range(len(probs))
        if classes[query] != probs.shape[1] - 1 and scores[query] > threshold
    ]
    labels = torch.zeros(masks.shape[1:], dtype=torch.int32)
    info, stuff = [], {}
    if not kept:
        return labels, info
    masks = masks[kept].sigmoid()
    owner = (scores[kept, None, None] * masks).argmax(0)
    for place, query in enumerate(kept):
        won, inside = owner == place, masks[place] >= 0.5
        if not (won & inside).any() or won.sum() / inside.sum() < overlap:
            continue
        category = int(classes[query])
        segment = stuff.get(category)
        if segment is None:
            segment = len(info) + 1
            isthing = bool(thing[category])
            score = float(scores[query])
            info.append(
                {"id": segment, "isthing": isthing, "category_id": category, "score": score}
            )
            if not isthing:
                stuff[category] = segment
        info[segment - 1]["score"] = max(info[segment - 1]["score"], float(scores[query]))
        labels[won & inside] = segment
    return labels, info


def _boxes(*corners):
    """Mask logits (N, 8, 8): +5 inside the rows and columns given, -5 elsewhere."""
    masks = torch.full((len(corners), 8, 8), -5.0)
    for mask, (top, bottom, left, right) in zip(masks, corners, strict=True):
        mask[top:bottom, left:right] = 5.0
    return masks


def _probs(classes, scores, num_classes=3):
    probs = torch.zeros(len(classes), num_classes + 1)
    probs[torch.arange(len(classes)), torch.tensor(classes)] = torch.tensor(scores)
    return probs


@pytest.mark.slow
@settings(max_examples=25)
@given(
    seed=st.integers(0, 9999),
    queries=st.integers(0, 30),
    classes=st.sampled_from([1, 3, 12]),
    threshold=st.sampled_from([0.0, 0.3, 0.999999]),
    overlap=st.sampled_from([0.05, 0.5, 0.8]),
)
def test_equals_the_definition(
    random_case, plain_resize, seed, queries, classes, threshold, overlap
) -> None:
    logits, masks = random_case(seed, queries=queries, classes=classes)
    probs, thing = logits.softmax(-1), torch.arange(classes) % 2 == 0
    labels, info = panoptic_segmentation(
        probs,
        masks,
        RESIZED,
        thing,
        object_mask_threshold=threshold,
        overlap_threshold=overlap,
    )
    expected_labels, expected_info = _plain(
        probs, plain_resize(masks, RESIZED), thing, threshold, overlap
    )
    assert labels.dtype == torch.int32
    assert info == expected_info
    assert (labels == expected_labels).float().mean() >= 0.999


def test_stuff_merges_and_things_do_not() -> None:
    masks = _boxes((0, 4, 0, 4), (0, 4, 4, 8), (4, 8, 0, 4), (4, 8, 4, 8))
    thing = torch.tensor([False, True, True])
    labels, info = panoptic_segmentation(
        _probs([0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6]), masks, SQUARE, thing
    )
    assert [(s["id"], s["isthing"], s["category_id"], round(s["score"], 6)) for s in info] == [
        (1, False, 0, 0.9),
        (2, True, 1, 0.8),
        (3, True, 1, 0.6),
    ]
    assert labels[::4, ::4].tolist() == [[1, 2], [1, 3]]


def test_a_segment_that_loses_too_much_of_its_mask_is_dropped() -> None:
    # The second mask lies under the first for three quarters of its area.
    masks = _boxes((0, 6, 0, 8), (0, 8, 0, 8))
    thing = torch.tensor([True, True, True])
    arguments = (_probs([0, 1], [0.9, 0.5]), masks, SQUARE, thing)
    labels, info = panoptic_segmentation(*arguments, overlap_threshold=0.5)
    assert [segment["category_id"] for segment in info] == [0]
    assert (labels[6:] == 0).all()
    labels, info = panoptic_segmentation(*arguments, overlap_threshold=0.2)
    assert [segment["category_id"] for segment in info] == [0, 1]
    assert (labels[6:] == 2).all()


def test_pixels_won_outside_the_own_mask_count_for_the_overlap() -> None:
    # The second query loses half of its mask (rows 2-5) and wins rows 6-7, where both are negative.
    masks = _boxes((0, 4, 0, 8), (2, 6, 0, 8))
    masks[0, 4:] = -9.0
    labels, info = panoptic_segmentation(
        _probs([0, 1], [0.9, 0.5]), masks, SQUARE, torch.ones(3, dtype=torch.bool)
    )
    assert len(info) == 2
    assert labels[:, 0].tolist() == [1, 1, 1, 1, 2, 2, 0, 0]


def test_void_and_low_scores_take_no_pixels() -> None:
    masks = _boxes((0, 8, 0, 8), (0, 8, 0, 8), (0, 8, 0, 8))
    thing = torch.tensor([True, True, True])
    probs = _probs([3, 0, 1], [0.99, 0.4, 0.3])
    labels, info = panoptic_segmentation(probs, masks, SQUARE, thing, object_mask_threshold=0.3)
    assert [segment["category_id"] for segment in info] == [0]
    assert (labels == 1).all()
    assert keep_queries(probs, 0.3).queries.tolist() == [1]


def test_pixels_outside_every_mask_stay_unassigned() -> None:
    labels, info = panoptic_segmentation(
        _probs([0], [0.9]), _boxes((0, 4, 0, 8)), SQUARE, torch.ones(3, dtype=torch.bool)
    )
    # The query wins all 64 pixels (no other takes part) and paints the 32 of its mask.
    assert len(info) == 1
    assert labels.unique(return_counts=True)[1].tolist() == [32, 32]


@pytest.mark.parametrize("queries", [0, 3])
def test_nothing_kept_gives_an_empty_map(random_case, queries) -> None:
    logits, masks = random_case(0, queries=queries)
    logits[:, -1] = 100.0
    labels, info = panoptic_segmentation(
        logits.softmax(-1), masks, RESIZED, torch.ones(7, dtype=torch.bool)
    )
    assert info == []
    assert labels.shape == RESIZED.output
    assert (labels == 0).all()


def test_order_of_queries_only_renumbers(random_case) -> None:
    logits, masks = random_case(13, queries=20)
    thing = torch.arange(7) % 2 == 0
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    probs = logits.softmax(-1)
    labels, info = panoptic_segmentation(probs, masks, RESIZED, thing, overlap_threshold=0.3)
    shuffled, shuffled_info = panoptic_segmentation(
        probs[order], masks[order], RESIZED, thing, overlap_threshold=0.3
    )
    assert len(info) >= 3
    category = torch.tensor([-1, *(segment["category_id"] for segment in info)])
    shuffled_category = torch.tensor([-1, *(segment["category_id"] for segment in shuffled_info)])
    assert torch.equal(category[labels.long()], shuffled_category[shuffled.long()])
    assert len(torch.unique(labels * 100 + shuffled)) == len(torch.unique(labels))


def test_a_mask_of_exact_zeros_counts_as_positive() -> None:
    # sigmoid(0) = 0.5 belongs to a panoptic mask (>= 0.5).
    labels, info = panoptic_segmentation(
        _probs([1], [0.9]), torch.zeros(1, 8, 8), SQUARE, torch.ones(3, dtype=torch.bool)
    )
    assert len(info) == 1
    assert (labels == 1).all()


def _panoptic_of(probs, masks, geometry=SQUARE, **settings):
    alone = {"semantic": False, "instance": False, "object_mask_threshold": 0.0}
    settings = TaskSettings(**alone, **settings)
    thing = torch.ones(probs.shape[1] - 1, dtype=torch.bool)
    return solve_tasks(probs.log(), masks, geometry, thing, settings).panoptic


def test_two_queries_of_one_region_leave_it_empty_unless_the_worse_goes() -> None:
    """IoU 0.75. Each mask is steeper on one half, so that both win too little of their own."""
    masks = _boxes((0, 7, 0, 8), (1, 8, 0, 8))
    masks[0, 4:7], masks[1, 1:4] = 0.1, 0.1
    probs = _probs([0, 1], [0.52, 0.5])
    assert _panoptic_of(probs, masks).segments_info == []
    assert _panoptic_of(probs, masks, panoptic_max_iou=0.75).segments_info == []
    labels, info = _panoptic_of(probs, masks, panoptic_max_iou=0.74)
    assert [segment["category_id"] for segment in info] == [0]
    assert labels[:, 0].tolist() == [1] * 7 + [0]


def test_of_three_in_a_row_only_the_middle_one_goes() -> None:
    """The second is too close to the first, the third to the second alone, which is gone."""
    masks = _boxes((0, 4, 0, 8), (1, 5, 0, 8), (2, 6, 0, 8))
    kept = keep_queries(_probs([0, 1, 2], [0.9, 0.8, 0.7]), 0.0)
    assert drop_duplicates(kept, masks, SQUARE, 0.5).queries.tolist() == [0, 2]
    order = torch.tensor([2, 0, 1])  # rows of the masks; the scores decide, not the order
    turned = keep_queries(_probs([2, 0, 1], [0.7, 0.9, 0.8]), 0.0)
    assert drop_duplicates(turned, masks[order], SQUARE, 0.5).queries.tolist() == [0, 1]


def test_padding_and_other_rows_do_not_count_for_duplicates() -> None:
    """Two masks that agree in the padding alone; a third row that is a proposal's."""
    masks = _boxes((0, 2, 0, 4), (2, 4, 0, 4))
    masks[:, :, 4:] = 5.0
    geometry = ImageGeometry(padded=(8, 8), image=(8, 4), output=(8, 4))
    kept = keep_queries(_probs([0, 1, 2], [0.9, 0.8, 0.7]), 0.0)
    assert drop_duplicates(kept, masks, geometry, 0.1).queries.tolist() == [0, 1, 2]
    assert drop_duplicates(kept, masks, SQUARE, 0.1).queries.tolist() == [0, 2]


def test_empty_masks_and_no_queries_are_no_duplicates() -> None:
    kept = keep_queries(_probs([0, 1], [0.9, 0.8]), 0.0)
    empty = torch.full((2, 8, 8), -5.0)
    assert drop_duplicates(kept, empty, SQUARE, 0.5).queries.tolist() == [0, 1]
    none = keep_queries(_probs([3], [0.9]), 0.0)
    assert drop_duplicates(none, empty[:1], SQUARE, 0.5).queries.tolist() == []
