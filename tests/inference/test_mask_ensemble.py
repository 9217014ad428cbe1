"""The mask ensemble: recorded values, the dense formula, and cases worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference import strips as tiles
from frozenseg.inference.mask_ensemble import (
    Proposals,
    choose_proposals,
    covered_by_queries,
)
from frozenseg.inference.postprocess import solve_tasks
from frozenseg.resize import nearest_resize
from frozenseg.structures import ImageGeometry, TaskSettings
from tests.one_task import semantic_segmentation

RESIZED = ImageGeometry(padded=(48, 68), image=(41, 60), output=(50, 47))
PLAIN = TaskSettings(object_mask_threshold=0.0)
SEMANTIC = replace(PLAIN, panoptic=False, instance=False)
CASES = ["normal", "no_sam_mask_above_0.5", "all_overlap", "no_overlap"]


def random_proposals(seed, masks=9, classes=7, size=RESIZED.output, kind="bool", unseen=3):
    """Rectangles with decided classes, of which about half take part."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(masks, classes + 1, generator=generator) * 6
    soft = torch.zeros(masks, *size)
    corners = torch.rand(masks, 4, generator=generator)
    for mask, (y, x, h, w) in zip(soft, corners.tolist(), strict=True):
        top, left = int(y * size[0]), int(x * size[1])
        mask[top : top + 1 + int(h * size[0]), left : left + 1 + int(w * size[1])] = 1.0
    if kind == "float":
        soft = soft * torch.rand(masks, 1, 1, generator=generator)
    seen = torch.arange(classes) < classes - unseen
    return Proposals(logits, soft if kind == "float" else soft > 0.5, seen)


def dense(sem_seg, proposals, alpha, masks=None):
    """The mask ensemble as its definition reads, on whole tensors."""
    probs = proposals.class_logits_MC1.softmax(-1)[:, :-1]
    unseen = ~proposals.seen_C
    taken = (probs * unseen).amax(1) > 0.5
    masks = (proposals.masks_MYX if masks is None else masks).float()
    support = torch.einsum("mc,mhw->chw", probs[taken], masks[taken])
    mixed = (1 - alpha) * sem_seg + alpha * support
    return torch.where(unseen[:, None, None], mixed, sem_seg)


@pytest.fixture(scope="module")
def golden_cases(golden_dir):
    return torch.load(golden_dir / "mask_ensemble" / "cases.pt", weights_only=True)


@pytest.mark.golden
@pytest.mark.parametrize("name", CASES)
def test_golden(golden_cases, name):
    case = golden_cases[name]
    size = tuple(case["mask_logits"].shape[1:])
    proposals = Proposals(
        case["sam_class_logits"][0], case["sam_mask_logits"].sigmoid(), case["seen"].bool()
    )
    arguments = (
        case["class_logits"],
        case["mask_logits"],
        ImageGeometry(padded=size, image=size, output=size),
        torch.ones_like(proposals.seen_C),
        replace(SEMANTIC, sam_alpha=case["alpha"]),
    )
    found = solve_tasks(*arguments, proposals).sem_seg
    torch.testing.assert_close(found, case["result"], atol=1e-5, rtol=0)
    without = solve_tasks(*arguments).sem_seg
    torch.testing.assert_close(without, case["semantic_without_sam"], atol=1e-5, rtol=0)


@pytest.mark.golden
def test_golden_cases_are_all_tested(golden_cases):
    assert sorted(golden_cases) == sorted(CASES)


@pytest.mark.slow
@settings(max_examples=20)
@given(
    seed=st.integers(0, 999),
    masks=st.sampled_from([0, 1, 9]),
    unseen=st.sampled_from([0, 3, 7]),
    kind=st.sampled_from(["bool", "float"]),
    alpha=st.sampled_from([0.0, 0.2, 1.0]),
    padded=st.booleans(),
    queries=st.sampled_from([0, 5]),
)
def test_strips_equal_the_dense_formula(
    random_case, seed, masks, unseen, kind, alpha, padded, queries
):
    logits, mask_logits = random_case(seed, queries=queries)
    proposals = random_proposals(seed, masks, kind=kind, unseen=unseen)
    plain = semantic_segmentation(logits.softmax(-1), mask_logits, RESIZED, at_padded_size=padded)
    expected = dense(plain, proposals, alpha)
    task = replace(SEMANTIC, sam_alpha=alpha, semantic_at_padded_size=padded)
    things = torch.ones(7, dtype=torch.bool)
    found = solve_tasks(logits, mask_logits, RESIZED, things, task, proposals).sem_seg
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    task = replace(task, semantic_argmax_only=True)
    best = solve_tasks(logits, mask_logits, RESIZED, things, task, proposals).semantic_labels
    torch.testing.assert_close(best.scores, expected.amax(0), atol=1e-5, rtol=0)
    chosen = expected.gather(0, best.labels[None])[0]
    torch.testing.assert_close(chosen, expected.amax(0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("strip_floats", [1, 5_000, 1 << 30])
@pytest.mark.parametrize("padded", [False, True])
def test_size_of_the_strips_does_not_change_results(random_case, monkeypatch, strip_floats, padded):
    logits, masks = random_case(13, queries=20)
    proposals = random_proposals(13)
    task = replace(
        PLAIN,
        overlap_threshold=0.3,
        semantic_at_padded_size=padded,
        proposals_as_queries=True,
    )
    arguments = (logits, masks, RESIZED, torch.arange(7) % 2 == 0, task, proposals)
    expected = solve_tasks(*arguments)
    monkeypatch.setitem(tiles._STRIP_FLOATS, "cpu", strip_floats)
    found = solve_tasks(*arguments)
    torch.testing.assert_close(found.sem_seg, expected.sem_seg, atol=1e-5, rtol=0)
    assert found.panoptic.segments_info == expected.panoptic.segments_info
    assert (found.panoptic.labels == expected.panoptic.labels).float().mean() >= 0.999
    torch.testing.assert_close(found.instances.scores, expected.instances.scores)


def test_by_hand():
    # One query (p: seen 0.5, unseen 0.25, void 0.25) that covers everything with probability 0.5.
    # Of three proposals the second is surely the seen class and the third 0.4 unseen: only the
    # first takes part, with 0.7 for the unseen class (and 0.2 for the seen one, which is unused).
    size = (1, 4)
    geometry = ImageGeometry(padded=size, image=size, output=size)
    logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    judged = torch.tensor([[0.2, 0.7, 0.1], [1.0, 0.0, 0.0], [0.3, 0.4, 0.3]]).log()
    masks = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]]).bool()[:, None]
    proposals = Proposals(judged, masks, torch.tensor([True, False]))
    arguments = (logits, torch.zeros(1, *size), geometry, torch.ones(2, dtype=torch.bool), SEMANTIC)
    seen, unseen = solve_tasks(*arguments, proposals).sem_seg
    torch.testing.assert_close(seen, torch.full(size, 0.25))
    torch.testing.assert_close(unseen, torch.tensor([[0.24, 0.24, 0.1, 0.1]]))


@pytest.mark.parametrize("padded", [False, True])
def test_no_proposal_list_leaves_every_bit(random_case, padded):
    logits, masks = random_case(3)
    things = torch.arange(7) % 2 == 0
    plain = replace(PLAIN, semantic_at_padded_size=padded, query_masks=True)
    given_alpha = replace(plain, sam_alpha=0.7, proposals_as_queries=True)
    expected = solve_tasks(logits, masks, RESIZED, things, plain)
    found = solve_tasks(logits, masks, RESIZED, things, given_alpha, None)
    probs = logits.softmax(-1)
    alone = semantic_segmentation(probs, masks, RESIZED, at_padded_size=padded)
    assert torch.equal(found.sem_seg, expected.sem_seg)
    assert torch.equal(found.sem_seg, alone)
    assert torch.equal(found.panoptic.labels, expected.panoptic.labels)
    assert torch.equal(found.instances.scores, expected.instances.scores)
    assert found.sam_proposals is None


def test_empty_list_is_the_ensemble_with_nothing_to_add(random_case):
    logits, masks = random_case(3)
    things = torch.ones(7, dtype=torch.bool)
    none = random_proposals(3, masks=0)
    off = replace(PLAIN, query_masks=True)
    plain = solve_tasks(logits, masks, RESIZED, things, off)
    task = replace(off, proposals_as_queries=True)
    found = solve_tasks(logits, masks, RESIZED, things, task, none)
    factor = torch.where(none.seen_C, 1.0, 0.8)[:, None, None]
    torch.testing.assert_close(found.sem_seg, factor * plain.sem_seg)
    assert torch.equal(found.panoptic.labels, plain.panoptic.labels)
    assert torch.equal(found.instances.scores, plain.instances.scores)
    assert found.sam_proposals.masks.shape == (0, *RESIZED.output)
    assert len(found.sam_proposals.classes) == 0


def test_other_tasks_do_not_see_proposals_unless_asked(random_case):
    logits, masks = random_case(4)
    things = torch.ones(7, dtype=torch.bool)
    plain = solve_tasks(logits, masks, RESIZED, things, PLAIN)
    found = solve_tasks(logits, masks, RESIZED, things, PLAIN, random_proposals(4))
    assert not torch.equal(found.sem_seg, plain.sem_seg)
    assert torch.equal(found.panoptic.labels, plain.panoptic.labels)
    assert torch.equal(found.instances.masks, plain.instances.masks)


@pytest.mark.parametrize("shape", [(25, 94), (100, 30), (1, 1)])
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks_of_another_size_are_resized_to_the_nearest(random_case, shape, kind):
    logits, masks = random_case(5)
    proposals = random_proposals(5, size=shape, kind=kind)
    rows, columns = (
        ((torch.arange(n) + 0.5) * (m / n)).long()
        for n, m in zip(RESIZED.output, shape, strict=True)
    )
    nearest = proposals.masks_MYX[:, rows][:, :, columns]
    assert torch.equal(nearest_resize(proposals.masks_MYX, RESIZED.output), nearest)
    plain = semantic_segmentation(logits.softmax(-1), masks, RESIZED)
    things = torch.ones(7, dtype=torch.bool)
    found = solve_tasks(logits, masks, RESIZED, things, SEMANTIC, proposals).sem_seg
    torch.testing.assert_close(found, dense(plain, proposals, 0.2, nearest), atol=1e-5, rtol=0)


def test_masks_stored_pixels_first_are_made_contiguous_once():
    proposals = random_proposals(6)
    stored = proposals.masks_MYX.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert not stored.is_contiguous()
    rows = choose_proposals(replace(proposals, masks_MYX=stored), 7, RESIZED.output, "cpu")
    assert len(rows) > 1
    assert rows.masks_MYX.is_contiguous()
    pixels = slice(47, 47 * 3)
    written = torch.empty(len(rows), 94)
    rows.write(pixels, written)
    expected = proposals.masks_MYX[rows.rows_N].flatten(1)[:, pixels].float()
    assert torch.equal(written, expected)


# Proposals as queries: a padded input of 32 x 32 with an image of 16 x 32, cells of 4 x 4 pixels,
# output twice the image. Query 0 (class 0, seen) has the left half, query 1 is void.
HALF = ImageGeometry(padded=(32, 32), image=(16, 32), output=(32, 64))


def two_queries():
    probs = torch.tensor([[0.9, 0.0, 0.1], [0.1, 0.0, 0.9]])
    masks = torch.full((2, 8, 8), -20.0)
    masks[0, :, :4] = 20.0
    masks[1, :, 4:] = 20.0
    return probs.clamp_min(1e-30).log(), masks


def boxes(*columns, judged=(0.05, 0.95, 0.0)):
    """Proposals that cover the given output columns, all with the same judgement of CLIP."""
    masks = torch.zeros(len(columns), *HALF.output, dtype=torch.bool)
    for mask, (left, right) in zip(masks, columns, strict=True):
        mask[:, left:right] = True
    logits = torch.tensor(judged).clamp_min(1e-30).log().expand(len(columns), 3)
    return Proposals(logits, masks, torch.tensor([True, False]))


def as_queries(sam, **changes):
    task = replace(PLAIN, semantic=False, proposals_as_queries=True, **changes)
    return solve_tasks(*two_queries(), HALF, torch.tensor([True, True]), task, sam)


def test_coverage_is_measured_inside_the_image():
    # Query 0 has 16 of the image's 32 cells; what it has in the padding does not count.
    _, masks = two_queries()
    rows = choose_proposals(boxes((0, 32), (0, 16), (16, 48), (32, 64)), 2, HALF.output, "cpu")
    for limit, expected in [
        (0.99, [True, False, False, False]),
        (0.49, [True, True, False, False]),
        (0.3, [True, True, True, False]),
    ]:
        assert covered_by_queries(rows, masks[:1], HALF, limit).tolist() == expected
    assert not covered_by_queries(rows, masks[:0], HALF, 0.0).any()


def test_a_proposal_names_what_no_query_names():
    plain = as_queries(None)
    assert [s["category_id"] for s in plain.panoptic.segments_info] == [0]
    assert (plain.panoptic.labels[:, 36:] == 0).all()
    found = as_queries(boxes((40, 64)))
    assert [s["category_id"] for s in found.panoptic.segments_info] == [0, 1]
    assert (found.panoptic.labels[:, 40:] == 2).all()
    assert (found.panoptic.labels[:, :28] == 1).all()
    best = found.instances.classes.tolist().index(1)
    score = PLAIN.proposal_weight * 0.95
    assert found.instances.scores[best].item() == pytest.approx(score)
    assert torch.equal(found.instances.masks[best], boxes((40, 64)).masks_MYX[0])


def test_a_proposal_that_a_query_covers_is_left_out():
    plain, found = as_queries(None), as_queries(boxes((0, 30)))
    assert found.panoptic.segments_info == plain.panoptic.segments_info
    assert torch.equal(found.panoptic.labels, plain.panoptic.labels)
    assert torch.equal(found.instances.scores, plain.instances.scores)
    kept = as_queries(boxes((0, 30)), proposal_max_iou=1.0)
    assert len(kept.instances.scores) == len(plain.instances.scores) + 2


@pytest.mark.parametrize(("weight", "winner"), [(0.5, [0]), (1.0, [1])])
def test_the_weight_decides_who_wins_a_shared_pixel(weight, winner):
    # The proposal is 14/32 of the query's mask, not covered; 0.95 * weight meets 0.9.
    found = as_queries(boxes((0, 14)), proposal_weight=weight, overlap_threshold=0.5)
    labels = found.panoptic.labels[:, :14].unique().tolist()
    named = [found.panoptic.segments_info[label - 1]["category_id"] for label in labels]
    assert named == winner


def test_proposals_of_seen_classes_and_unsure_ones_stay_out():
    for judged in ((0.95, 0.05, 0.0), (0.3, 0.45, 0.25), (0.0, 0.4, 0.6)):
        found = as_queries(boxes((40, 64), judged=judged))
        assert [s["category_id"] for s in found.panoptic.segments_info] == [0]


def test_threshold_of_panoptic_queries_counts_for_proposals():
    # The proposal's score is 0.95 * 0.8.
    for threshold, categories in ((0.75, [0, 1]), (0.77, [0])):
        found = as_queries(boxes((40, 64)), object_mask_threshold=threshold, proposal_weight=0.8)
        assert [s["category_id"] for s in found.panoptic.segments_info] == categories


def test_recall_gets_all_proposals_with_their_best_class():
    proposals = boxes((0, 9), (40, 64), judged=(0.3, 0.2, 0.5))
    found = as_queries(proposals, query_masks=True)
    assert torch.equal(found.sam_proposals.masks, proposals.masks_MYX)
    assert found.sam_proposals.classes.tolist() == [0, 0]
    torch.testing.assert_close(found.sam_proposals.scores, torch.tensor([0.3, 0.3]))
    assert len(found.query_masks.scores) == 2
    assert as_queries(proposals).sam_proposals is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_logits_MC1": torch.zeros(3, 3)}, "one row per proposal"),
        ({"class_logits_MC1": torch.zeros(2, 4)}, "2 classes and void"),
        ({"seen_C": torch.zeros(2)}, "one bool per class"),
        ({"seen_C": torch.zeros(3, dtype=torch.bool)}, "one bool per class"),
        ({"masks_MYX": torch.zeros(2, 32, 64, dtype=torch.uint8)}, "pass bool, or float"),
        ({"masks_MYX": torch.zeros(2, 32, dtype=torch.bool)}, r"expected \(M, C \+ 1\)"),
    ],
)
def test_what_does_not_fit_is_an_error(changes, message):
    with pytest.raises(ValueError, match=message):
        as_queries(replace(boxes((0, 9), (40, 64)), **changes))


@pytest.mark.parametrize("name", ["sam_alpha", "proposal_weight", "proposal_max_iou"])
def test_shares_outside_their_range_are_an_error(name):
    with pytest.raises(ValueError, match=rf"{name} = 1\.5"):
        replace(PLAIN, **{name: 1.5})
