"""numpy's results are those of torch, for random outputs that need resizing up and down."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from frozenseg.exporting import postprocess
from frozenseg.exporting.postprocess import solve_task
from frozenseg.inference.postprocess import solve_tasks
from frozenseg.structures import ImageGeometry, TaskSettings

# Mask logits (16, 24): padded input, image, output.
GEOMETRIES = {
    "own size": ImageGeometry((64, 96), (64, 96), (64, 96)),
    "padded": ImageGeometry((64, 96), (50, 90), (50, 90)),
    "up": ImageGeometry((64, 96), (50, 90), (111, 200)),
    "down": ImageGeometry((64, 96), (61, 83), (13, 17)),
    "up and down": ImageGeometry((64, 96), (50, 90), (20, 300)),
    "one row": ImageGeometry((64, 96), (1, 96), (1, 96)),
    "one pixel": ImageGeometry((64, 96), (50, 90), (1, 1)),
}
TASKS = ("panoptic", "semantic", "instance")


def settings_of(task, **changes):
    on = {each: each == task for each in TASKS}
    return TaskSettings(**on, object_mask_threshold=0.1, semantic_argmax_only=True, **changes)


def outputs(seed, queries=40, classes=7):
    """Class logits that are sure of something, and smooth masks."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(queries, classes + 1, generator=generator)
    coarse = 8 * torch.randn(1, queries, 5, 6, generator=generator)
    masks = torch.nn.functional.interpolate(coarse, (16, 24), mode="bicubic")[0] - 1
    return logits, masks, torch.arange(classes) % 2 == 0


def both(task, geometry, logits, masks, things, **changes):
    settings = settings_of(task, **changes)
    expected = solve_tasks(logits, masks, geometry, things, settings)
    arrays = (logits.numpy(), masks.numpy(), geometry, things.numpy())
    return expected, solve_task(*arrays, settings)


def share(found, expected):
    """Of pixels that are equal."""
    assert found.shape == tuple(expected.shape)
    return (np.asarray(found) == expected.numpy()).mean()


@pytest.mark.parametrize("strip", [1, 5000, 1 << 21])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_panoptic_segments_are_torchs(name, strip, monkeypatch):
    monkeypatch.setattr(postprocess, "STRIP_FLOATS", strip)
    expected, found = both("panoptic", GEOMETRIES[name], *outputs(0), overlap_threshold=0.1)
    labels, segments = found["panoptic_seg"]
    assert share(labels, expected.panoptic.labels) >= 0.999
    assert len(segments) > 1 or name == "one pixel"
    assert [{**each, "score": 0} for each in segments] == [
        {**each, "score": 0} for each in expected.panoptic.segments_info
    ]
    scores = [each["score"] for each in expected.panoptic.segments_info]
    np.testing.assert_allclose([each["score"] for each in segments], scores, rtol=1e-5)


@pytest.mark.parametrize("name", GEOMETRIES)
def test_duplicates_are_torchs(name):
    logits, masks, things = outputs(4)
    logits, masks = torch.cat((logits, logits - 0.1)), torch.cat((masks, masks + 0.01))
    settings = {"panoptic_max_iou": 0.6, "overlap_threshold": 0.3}
    expected, found = both("panoptic", GEOMETRIES[name], logits, masks, things, **settings)
    ids = [each["category_id"] for each in expected.panoptic.segments_info]
    assert [each["category_id"] for each in found["panoptic_seg"][1]] == ids
    assert share(found["panoptic_seg"][0], expected.panoptic.labels) >= 0.999


@pytest.mark.parametrize("strip", [1, 5000, 1 << 21])
@pytest.mark.parametrize("at_padded_size", [False, True])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_semantic_labels_are_torchs(name, at_padded_size, strip, monkeypatch):
    monkeypatch.setattr(postprocess, "STRIP_FLOATS", strip)
    more = {"semantic_at_padded_size": at_padded_size}
    expected, found = both("semantic", GEOMETRIES[name], *outputs(1), **more)
    assert share(found["semantic_labels"], expected.semantic_labels.labels) >= 0.999


@pytest.mark.parametrize("strip", [1, 5000, 1 << 21])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_instances_are_torchs(name, strip, monkeypatch):
    monkeypatch.setattr(postprocess, "STRIP_FLOATS", strip)
    expected, found = both("instance", GEOMETRIES[name], *outputs(2), detections_per_image=15)
    instances = found["instances"]
    assert instances.pred_classes.tolist() == expected.instances.classes.tolist()
    np.testing.assert_allclose(instances.scores, expected.instances.scores.numpy(), atol=1e-5)
    assert share(instances.pred_masks, expected.instances.masks) >= 0.999


def test_tasks_together_drop_stuff_from_the_instances():
    """As the released code does where panoptic segmentation is on too."""
    logits, masks, things = outputs(3)
    settings = TaskSettings(object_mask_threshold=0.1, semantic_argmax_only=True)
    geometry = GEOMETRIES["padded"]
    expected = solve_tasks(logits, masks, geometry, things, settings)
    found = solve_task(logits.numpy(), masks.numpy(), geometry, things.numpy(), settings)
    assert found["instances"].pred_classes.tolist() == expected.instances.classes.tolist()
    assert share(found["panoptic_seg"][0], expected.panoptic.labels) >= 0.999
    assert share(found["semantic_labels"], expected.semantic_labels.labels) >= 0.999


@pytest.mark.parametrize("task", TASKS)
def test_infinite_and_nan_masks_are_certain(task):
    logits, masks, things = outputs(4)
    masks[0], masks[1], masks[2] = float("nan"), float("inf"), float("-inf")
    expected, found = both(task, GEOMETRIES["up"], logits, masks, things)
    if task == "instance":
        assert share(found["instances"].pred_masks, expected.instances.masks) >= 0.999
    elif task == "semantic":
        assert share(found["semantic_labels"], expected.semantic_labels.labels) >= 0.999
    else:
        assert share(found["panoptic_seg"][0], expected.panoptic.labels) >= 0.999


def test_nothing_above_the_threshold_is_an_empty_map():
    logits, masks, things = outputs(5)
    logits[:, -1] = 50.0
    _, found = both("panoptic", GEOMETRIES["up"], logits, masks, things)
    labels, segments = found["panoptic_seg"]
    assert not labels.any()
    assert segments == []


def test_of_equal_probabilities_the_first_wins():
    logits, masks, things = outputs(6, queries=4)
    logits[:], masks[:] = logits[0], masks[0]
    for task in TASKS[:2]:
        expected, found = both(task, GEOMETRIES["up"], logits, masks, things, overlap_threshold=0.0)
        if task == "panoptic":
            assert share(found["panoptic_seg"][0], expected.panoptic.labels) == 1
        else:
            assert share(found["semantic_labels"], expected.semantic_labels.labels) == 1


def test_memory_stays_at_a_few_strips():
    """Of 250 masks at 1500 x 1500: 2.2 GB as floats."""
    import tracemalloc

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(250, 31)).astype(np.float32) * 3
    masks = rng.normal(size=(250, 40, 40)).astype(np.float32)
    geometry = ImageGeometry((160, 160), (160, 150), (700, 700))
    things = np.ones(30, dtype=bool)
    solve_task(logits, masks, GEOMETRIES["one pixel"], things, settings_of("semantic"))
    for task in TASKS[:2]:
        tracemalloc.start()
        solve_task(logits, masks, geometry, things, settings_of(task))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100e6, task  # the masks would be 490 MB
