from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference import strips as tiles
from frozenseg.inference.postprocess import solve_tasks
from frozenseg.structures import ImageGeometry, TaskSettings
from tests.one_task import instance_segmentation, panoptic_segmentation, semantic_segmentation

RESIZED = ImageGeometry(padded=(48, 68), image=(41, 60), output=(50, 47))
PLAIN = TaskSettings(object_mask_threshold=0.0)
GOLDEN_GEOMETRY = {
    ("img0", 0): ImageGeometry(padded=(128, 192), image=(128, 192), output=(128, 192)),
    ("img1", 0): ImageGeometry(padded=(192, 128), image=(180, 122), output=(200, 140)),
    ("batch", 0): ImageGeometry(padded=(192, 192), image=(128, 192), output=(128, 192)),
    ("batch", 1): ImageGeometry(padded=(192, 192), image=(180, 122), output=(200, 140)),
}


def _same(found, expected) -> None:
    torch.testing.assert_close(found.sem_seg, expected.sem_seg, atol=1e-5, rtol=0)
    assert found.panoptic.segments_info == expected.panoptic.segments_info
    assert (found.panoptic.labels == expected.panoptic.labels).float().mean() >= 0.999
    torch.testing.assert_close(found.instances.scores, expected.instances.scores)
    assert torch.equal(found.instances.classes, expected.instances.classes)
    assert (found.instances.masks == expected.instances.masks).float().mean() >= 0.999


@settings(max_examples=12)
@given(
    seed=st.integers(0, 999),
    queries=st.sampled_from([0, 1, 5, 30]),
    classes=st.sampled_from([1, 4]),
    threshold=st.sampled_from([0.0, 0.5, 1.0]),
    panoptic=st.booleans(),
    semantic=st.booleans(),
    padded=st.booleans(),
)
def test_one_pass_equals_the_separate_tasks(
    random_case, seed, queries, classes, threshold, panoptic, semantic, padded
) -> None:
    logits, masks = random_case(seed, queries=queries, classes=classes)
    thing = torch.arange(classes) % 2 == 0
    outputs = solve_tasks(
        logits,
        masks,
        RESIZED,
        thing,
        TaskSettings(
            semantic=semantic,
            panoptic=panoptic,
            object_mask_threshold=threshold,
            overlap_threshold=0.3,
            detections_per_image=6,
            semantic_at_padded_size=padded,
        ),
    )
    probs = logits.softmax(-1)
    if semantic:
        scores = semantic_segmentation(probs, masks, RESIZED, at_padded_size=padded)
        torch.testing.assert_close(outputs.sem_seg, scores)
    if panoptic:
        labels, info = panoptic_segmentation(
            probs,
            masks,
            RESIZED,
            thing,
            object_mask_threshold=threshold,
            overlap_threshold=0.3,
        )
        assert torch.equal(outputs.panoptic.labels, labels)
        assert outputs.panoptic.segments_info == info
    expected = instance_segmentation(
        probs, masks, RESIZED, thing_C=thing if panoptic else None, detections_per_image=6
    )
    torch.testing.assert_close(outputs.instances.scores, expected.scores)
    assert torch.equal(outputs.instances.classes, expected.classes)
    assert torch.equal(outputs.instances.masks, expected.masks)
    assert (outputs.sem_seg is None) == (not semantic)
    assert (outputs.panoptic is None) == (not panoptic)


@pytest.mark.parametrize("strip_floats", [1, 5_000, 1 << 30])
def test_size_of_the_strips_does_not_change_results(random_case, monkeypatch, strip_floats) -> None:
    logits, masks = random_case(13, queries=20)
    thing = torch.arange(7) % 2 == 0
    task = replace(PLAIN, overlap_threshold=0.3)
    expected = solve_tasks(logits, masks, RESIZED, thing, task)
    monkeypatch.setitem(tiles._STRIP_FLOATS, "cpu", strip_floats)
    _same(solve_tasks(logits, masks, RESIZED, thing, task), expected)
    assert len(expected.panoptic.segments_info) >= 3


def test_results_do_not_depend_on_autocast_or_gradients(random_case) -> None:
    logits, masks = random_case(13, queries=20)
    thing = torch.arange(7) % 2 == 0
    expected = solve_tasks(logits, masks, RESIZED, thing, PLAIN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = solve_tasks(
            logits.requires_grad_(),
            masks.requires_grad_(),
            RESIZED,
            thing,
            PLAIN,
        )
    _same(found, expected)


def test_two_thousand_classes_labels_only(random_case) -> None:
    logits, masks = random_case(0, classes=2000)
    thing = torch.ones(2000, dtype=torch.bool)
    outputs = solve_tasks(
        logits,
        masks,
        RESIZED,
        thing,
        replace(PLAIN, semantic_argmax_only=True),
    )
    scores = semantic_segmentation(logits.softmax(-1), masks, RESIZED)
    assert outputs.sem_seg is None
    assert (outputs.semantic_labels.labels == scores.argmax(0)).float().mean() >= 0.999
    assert len(outputs.instances.scores) == 100


def test_one_pixel_and_one_class() -> None:
    geometry = ImageGeometry(padded=(32, 32), image=(1, 1), output=(1, 1))
    logits = torch.tensor([[3.0, 0.0], [0.0, 3.0]])
    outputs = solve_tasks(
        logits,
        torch.full((2, 8, 8), 4.0),
        geometry,
        torch.tensor([True]),
        PLAIN,
    )
    assert outputs.sem_seg.shape == (1, 1, 1)
    assert outputs.panoptic.labels.tolist() == [[1]]
    assert outputs.instances.masks.tolist() == [[[True]], [[True]]]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e38, -1e38])
def test_extreme_logits_give_no_nan(random_case, value) -> None:
    logits, masks = random_case(0)
    masks[2] = masks[:, 3, 4] = value
    if value == value:
        logits[1, 2] = logits[4] = min(max(value, -1e38), 1e38)
    outputs = solve_tasks(
        logits,
        masks,
        RESIZED,
        torch.ones(7, dtype=torch.bool),
        PLAIN,
    )
    assert torch.isfinite(outputs.sem_seg).all()
    assert torch.isfinite(outputs.instances.scores).all()


def test_instance_only_keeps_classes_that_are_not_things(random_case) -> None:
    logits, masks = random_case(0)
    no_things = torch.zeros(7, dtype=torch.bool)
    alone = replace(PLAIN, semantic=False, panoptic=False)
    outputs = solve_tasks(logits, masks, RESIZED, no_things, alone)
    assert len(outputs.instances.scores) == 12 * 7
    both = replace(PLAIN, semantic=False, panoptic=True)
    assert len(solve_tasks(logits, masks, RESIZED, no_things, both).instances.scores) == 0


def test_no_task_gives_no_result(random_case) -> None:
    logits, masks = random_case(0)
    off = replace(PLAIN, semantic=False, panoptic=False, instance=False)
    outputs = solve_tasks(logits, masks, RESIZED, torch.ones(7, dtype=torch.bool), off)
    assert (outputs.sem_seg, outputs.panoptic, outputs.instances) == (None, None, None)


def test_shapes_that_do_not_fit_are_errors(random_case) -> None:
    logits, masks = random_case(0)
    thing = torch.ones(7, dtype=torch.bool)
    for arguments, message in [
        ((logits[None], masks, RESIZED, thing), "of one image"),
        ((logits[:3], masks, RESIZED, thing), "one row per query"),
        ((logits, masks, RESIZED, thing[:3]), "7 classes"),
    ]:
        with pytest.raises(ValueError, match=message):
            solve_tasks(*arguments, PLAIN)


@pytest.fixture(scope="module")
def golden(golden_dir):
    """Recorded values and the thing mask of the tiny FC-CLIP."""
    folder = golden_dir / "fcclip_tiny_convnext"
    vocabulary = json.loads((folder / "vocab.json").read_text())
    thing = torch.zeros(len(vocabulary["test_stuff_classes"]), dtype=torch.bool)
    thing[vocabulary["test_thing_contiguous_ids"]] = True
    return torch.load(folder / "eval.pt", weights_only=True), thing


def _run_golden(golden, call, index, **changes):
    values, thing = golden
    return solve_tasks(
        values[call]["mask_cls_after_ensemble"][index],
        values[call]["pred_masks"][index],
        GOLDEN_GEOMETRY[call, index],
        thing,
        replace(PLAIN, detections_per_image=40, **changes),
    )


@pytest.mark.golden
@pytest.mark.parametrize(("call", "index"), list(GOLDEN_GEOMETRY))
@pytest.mark.parametrize(("overlap", "suffix"), [(0.8, ""), (0.05, "_overlap0.05")])
def test_golden_panoptic(golden, call, index, overlap, suffix) -> None:
    expected = golden[0][call]["per_image"][index]
    labels, info = _run_golden(golden, call, index, overlap_threshold=overlap).panoptic
    recorded = expected[f"panoptic_seg{suffix}"]
    assert all(0 < segment.pop("score") <= 1 for segment in info)  # not among what was recorded
    assert info == expected[f"segments_info{suffix}"]
    assert labels.dtype == recorded.dtype
    assert (labels == recorded).float().mean() >= 0.999


@pytest.mark.golden
@pytest.mark.parametrize(("call", "index"), list(GOLDEN_GEOMETRY))
def test_golden_semantic(golden, call, index) -> None:
    expected = golden[0][call]["per_image"][index]
    scores = _run_golden(golden, call, index).sem_seg
    assert (scores.argmax(0) == expected["sem_seg_argmax"]).float().mean() >= 0.999
    for name in expected:
        if name.startswith("sem_seg_stride"):
            stride = int(name.removeprefix("sem_seg_stride"))
            strided = scores[:, ::stride, ::stride]
            torch.testing.assert_close(strided, expected[name], atol=1e-4, rtol=0)


@pytest.mark.golden
def test_golden_semantic_only(golden) -> None:
    outputs = _run_golden(
        golden, "img1", 0, panoptic=False, instance=False, semantic_at_padded_size=True
    )
    expected = golden[0]["img1_semantic_only_sem_seg_stride4"]
    torch.testing.assert_close(outputs.sem_seg[:, ::4, ::4], expected, atol=1e-4, rtol=0)
    default = _run_golden(golden, "img1", 0, panoptic=False, instance=False)
    assert (default.sem_seg[:, ::4, ::4] - expected).abs().max() > 1e-3


@pytest.mark.golden
@pytest.mark.parametrize(("call", "index"), list(GOLDEN_GEOMETRY))
def test_golden_instances_as_sets(golden, call, index) -> None:
    expected = golden[0][call]["per_image"][index]
    scores, classes, masks = _run_golden(golden, call, index).instances
    assert Counter(classes.tolist()) == Counter(expected["pred_classes"].tolist())
    order = sorted(range(len(scores)), key=lambda k: (classes[k].item(), scores[k].item()))
    recorded_classes, recorded_scores = expected["pred_classes"], expected["scores"]
    recorded_order = sorted(
        range(len(scores)), key=lambda k: (recorded_classes[k].item(), recorded_scores[k].item())
    )
    torch.testing.assert_close(scores[order], recorded_scores[recorded_order], atol=1e-4, rtol=0)
    if "pred_masks" in expected:
        same = masks[order] == expected["pred_masks"][recorded_order]
        assert same.float().mean() >= 0.999


def test_proposals_are_the_masks_of_all_queries_with_their_best_class():
    torch.manual_seed(0)
    class_logits, masks = torch.randn(5, 4), torch.randn(5, 8, 8)
    geometry = ImageGeometry(padded=(32, 32), image=(32, 32), output=(32, 32))
    settings = replace(PLAIN, semantic=False, panoptic=False, instance=False, query_masks=True)
    outputs = solve_tasks(class_logits, masks, geometry, torch.ones(3, dtype=bool), settings)
    assert outputs.panoptic is None
    assert outputs.instances is None
    assert torch.equal(outputs.query_masks.classes, class_logits[:, :3].argmax(1))
    full = torch.nn.functional.interpolate(masks[None], (32, 32), mode="bilinear")[0]
    assert (outputs.query_masks.masks == (full > 0)).float().mean() > 0.9999
