"""The miniature vision-only encoder: views, cut-out things, tasks, files, what is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from frozenseg.data.miniature.classes import SHAPES
from frozenseg.data.miniature.outlines import outline
from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.encoders.visual.encoder import load_visual_encoder
from tools.miniature.clip_training import normalise
from tools.miniature.pool import open_crops, open_scenes
from tools.miniature.runs import VIT_CONFIG
from tools.miniature.saliency import Cutouts, describe_outlines, salient_mask
from tools.miniature.training import Schedule, train
from tools.miniature.vision_evaluation import evaluate_vision
from tools.miniature.vision_training import (
    MiniatureVision,
    VisionTask,
    contrast,
    draw_blanks,
    sample_cells,
)
from tools.miniature.vision_views import PATCH, draw_matrix, draw_views

pytestmark = pytest.mark.slow

VIT_WEIGHTS = Path(__file__).resolve().parents[2] / "frozenseg/weights/miniature_vit.safetensors"
_VIT: dict[str, Any] = {
    "img_size": 256,
    "patch_size": 32,
    "embed_dim": 16,
    "depth": 1,
    "num_heads": 2,
}
_VIT |= {"num_classes": 0, "class_token": False, "global_pool": ""}


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    return folder, open_scenes(folder, seed=1, count=6), open_crops(folder, seed=1, count=20)


def test_views_show_the_same_point_where_they_say(monkeypatch):
    """A picture whose pixels are their own coordinates, without lighting, noise and blur."""
    monkeypatch.setattr("tools.miniature.vision_views._relight", lambda g, view, noise: view)
    y, x = np.mgrid[:256, :256].astype(np.uint8)
    picture = np.stack([x, y, np.zeros_like(x)], -1)[None]
    views = draw_views(np.random.default_rng(3), np.repeat(picture, 6, 0))
    maps = torch.from_numpy(views.images[..., :2]).permute(0, 1, 4, 2, 3)
    compared = 0
    for b in range(6):
        for v in range(2):
            own = torch.nn.functional.avg_pool2d(maps[v, b], 2)[:, 7::16, 7::16].flatten(1).T
            places = torch.from_numpy(views.places[v, b])[None, :, None]
            other = torch.nn.functional.grid_sample(maps[1 - v, b][None], places)[0, ..., 0].T
            # Away from the border, where a view mirrors the picture.
            inner = (own > 8).all(1) & (own < 248).all(1) & torch.from_numpy(views.inside[v, b])
            compared += int(inner.sum())
            torch.testing.assert_close(own[inner], other[inner], rtol=0, atol=2.5)  # of 256
    assert compared > 100


def test_views_keep_lengths_in_proportion():
    for seed in range(20):
        linear = draw_matrix(np.random.default_rng(seed), 256)[:2, :2]
        square = linear @ linear.T
        assert np.allclose(square, square[0, 0] * np.eye(2))
        assert 0.84 < np.sqrt(square[0, 0]) < 1.36


def test_cells_are_read_between_their_neighbours():
    cells = torch.arange(16.0).reshape(1, 16, 1)
    middles = torch.tensor([[[-0.75, -0.75], [0.75, -0.75], [-0.5, -0.75], [0.0, 0.0]]])
    found = sample_cells(cells, middles)
    assert torch.allclose(found.flatten(), torch.tensor([0.0, 3.0, 0.5, 7.5]), atol=1e-5)


def test_contrast_is_small_for_partners_and_that_of_a_guess_for_equals():
    vectors = torch.eye(8)
    loss, right = contrast(vectors, 3 * vectors, 0.05)
    assert loss.item() < 1e-4
    assert right == 1
    loss, _ = contrast(torch.ones(8, 4), torch.ones(8, 4))
    assert loss.item() == pytest.approx(np.log(8), abs=1e-4)


def test_blanks_are_a_share_of_the_cells():
    counts = draw_blanks(np.random.default_rng(0), (100, 64), 0.6).sum(-1)
    assert counts.min() >= 1
    assert 30 < counts.max() <= 0.6 * 64 + 1


def test_salient_masks_are_mostly_the_things(pools):
    """A thing's pixels are of one colour, unlike the picture's."""
    crops = pools[2]
    masks = np.stack([salient_mask(image) for image in crops.images]) > 0
    images = np.asarray(crops.images, np.float32)
    flat = [
        mask.any() and image[mask].std(0).mean() < image.std((0, 1)).mean()
        for image, mask in zip(images, masks, strict=True)
    ]
    assert np.mean(flat) > 0.7


def _mask(kind, angle=0.0, radius=30.0, middle=(48.0, 48.0)):
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    mask = np.zeros((96, 96), np.uint8)
    points = [np.round((p @ matrix.T * radius + middle) * 16) for p in outline(kind)]
    cv2.fillPoly(mask, [p.astype(np.int32) for p in points], 255, shift=4)
    return mask


def test_descriptions_know_shapes_whichever_way_they_lie():
    kinds = list(SHAPES)
    upright = [_mask(kind) for kind in kinds]
    turned = [_mask(kind, 0.7, 24.0, (44.0, 53.0))[:, ::-1] for kind in kinds]
    found = describe_outlines(np.stack([*upright, *turned]))
    assert np.square(found).mean() == pytest.approx(1, abs=1e-4)
    distance = np.square(found[:8, None] - found[None, 8:]).sum(-1)
    assert (distance.argmin(1) == np.arange(8)).all()


def test_pasted_things_lie_where_the_ids_say(pools):
    scenes, cutouts = pools[1].images[:4], Cutouts(pools[2].images)
    before = scenes.copy()
    pasted = cutouts.paste(np.random.default_rng(0), scenes)
    assert (scenes == before).all()
    changed = np.abs(pasted.images.astype(int) - before).max(-1) > 0
    for b in range(4):
        things = pasted.rows[b] >= 0
        assert 3 <= things.sum() <= 6
        assert set(np.unique(pasted.ids[b])) <= {0, *(np.flatnonzero(things) + 1)}
        assert set(pasted.rows[b][things]) <= set(cutouts.usable)
        grown = cv2.dilate(pasted.ids[b], np.ones((5, 5), np.uint8)) > 0
        assert not (changed[b] & ~grown).any()
        assert (changed[b] & (pasted.ids[b] > 0)).sum() > 0.9 * (pasted.ids[b] > 0).sum()


def test_pictures_are_normalised_like_clips():
    image = np.full((1, 2, 2, 3), [122.7709383, 116.7460125, 104.09373615], np.float32)
    image[0, 0, 0] += [68.5005327, 66.6321579, 70.32316305]
    found = normalise(image)
    assert found.shape == (1, 3, 2, 2)
    expected = torch.zeros(1, 3, 2, 2)
    expected[..., 0, 0] = 1
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_every_weight_of_the_vision_encoder_learns(pools):
    torch.manual_seed(0)
    model = MiniatureVision(_VIT)
    task = VisionTask(model, pools[1], pools[2], 0, batches=(2, 2))
    seen = set()
    for step in range(12):
        loss, figures = task.loss(step, 0.0)
        loss.backward()
        seen |= set(figures)
        assert torch.isfinite(loss)
    assert seen == {"cells", "outlines", "loss_pixels"}
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert idle == []


def test_exported_vision_encoder_says_the_same_through_the_ordinary_door(tmp_path):
    torch.manual_seed(0)
    model = MiniatureVision(json.loads(VIT_CONFIG.read_text())["timm_vit"]).eval()
    model.export(tmp_path / "vit.safetensors")
    encoder = load_visual_encoder(str(VIT_CONFIG), str(tmp_path / "vit.safetensors"))
    images = normalise(np.stack([draw_scene(0, 0).image]).astype(np.float32))
    with torch.no_grad():
        ours = model(images).transpose(1, 2).unflatten(2, (8, 8))
    theirs = encoder(images)
    assert theirs.shape == (1, 128, 8, 8)
    assert torch.nn.functional.cosine_similarity(ours, theirs).min() > 0.99  # bfloat16


def test_a_stopped_training_goes_on_exactly(pools, tmp_path):
    def make():
        torch.manual_seed(0)
        model = MiniatureVision(_VIT)
        return model, VisionTask(model, pools[1], pools[2], 0, batches=(1, 1)).loss

    def stopping(loss):
        def stop(step, progress):
            if step == 3:
                raise KeyboardInterrupt
            return loss(step, progress)

        return stop

    schedule = Schedule(minutes=0, steps=6, peak_rate=1e-3, log_every=1, save_every=0.0)
    whole, loss = make()
    train(whole, loss, schedule, tmp_path / "whole", resume=False)
    stopped, loss = make()
    with pytest.raises(KeyboardInterrupt):
        train(stopped, stopping(loss), schedule, tmp_path / "parts", resume=False)
    fresh, loss = make()
    train(fresh, loss, schedule, tmp_path / "parts", resume=True)
    for (name, expected), found in zip(whole.named_parameters(), fresh.parameters(), strict=True):
        assert torch.equal(expected, found), name


def test_probes_read_what_is_there_and_guess_what_is_not():
    """The mean colour of a cell tells a thing's colour, but not its shape."""

    def mean_color(images):
        return torch.nn.functional.avg_pool2d(images, PATCH)

    figures = evaluate_vision(mean_color, seed=8, scenes=20, probe_scenes=60)
    assert figures["color"] > 60
    assert figures["shape"] < 35


def test_shipped_vision_encoder_tells_colours_and_shapes():
    """A small sample of what docs/miniature_pretraining.md reports."""
    encoder = load_visual_encoder(str(VIT_CONFIG), str(VIT_WEIGHTS))
    figures = evaluate_vision(encoder, seed=99, scenes=40, probe_scenes=150)
    assert figures["color"] >= 95
    assert figures["shape"] >= 25


def test_shipped_weights_are_small_and_say_how_they_were_made():
    assert VIT_WEIGHTS.stat().st_size <= 2.5 * 2**20
    facts = json.loads(VIT_WEIGHTS.with_suffix(".json").read_text())
    assert facts["model"] == VIT_WEIGHTS.stem
    assert facts["measured"]["trained"]
