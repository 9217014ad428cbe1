"""The pretraining tool of the miniature models: batches, losses, the loop, and what is shipped."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frozenseg.data.miniature.classes import ALL, CLASSES, all_names
from frozenseg.data.miniature.scenes import SIZE, draw_scene
from frozenseg.encoders.clip.weights import load_clip
from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.layers.mask_pooling import pool_by_masks
from tools.miniature.clip_batches import cell_shares, draw_captions, draw_crops, draw_regions
from tools.miniature.clip_evaluation import evaluate_clip
from tools.miniature.clip_training import ClipTask, MiniatureClip, Stage, multi_positive_loss
from tools.miniature.pool import open_crops, open_scenes
from tools.miniature.runs import CLIP_CONFIG, evaluate
from tools.miniature.sam_evaluation import evaluate_sam
from tools.miniature.sam_training import (
    MiniatureSam,
    SamTask,
    dice_loss,
    draw_clicks,
    focal_loss,
    mask_iou,
)
from tools.miniature.training import Schedule, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "pretrain_miniature.py"
WEIGHTS = ROOT / "frozenseg" / "weights"


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    scenes = open_scenes(folder, seed=1, count=12)
    return folder, scenes, open_crops(folder, seed=1, count=8)


def test_help_needs_no_torch(tmp_path):
    code = (
        "import runpy, sys\nsys.argv = ['tool', 'clip', '--help']\n"
        f"try: runpy.run_path({str(TOOL)!r}, run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--resume" in done.stdout


def test_pools_keep_what_they_drew(pools):
    folder, scenes, _ = pools
    scene = draw_scene(1, 3)
    assert (scenes.images[3] == scene.image).all()
    assert (scenes.ids[3] == scene.ids).all()
    found = [c for c in scenes.categories[3] if c >= 0]
    assert found == [segment["category"] for segment in scene.segments]
    state = next((folder / "scenes_1_12").glob("done*.json"))
    state.write_text("11")  # as if it had been stopped before the last scene
    scenes.images[:] = 7
    again = open_scenes(folder, seed=1, count=12)
    assert (again.images[:11] == 7).all()
    assert (again.images[11] == draw_scene(1, 11).image).all()
    state.unlink()
    open_scenes(folder, seed=1, count=12)


def test_hard_cells_are_those_of_the_models_mask_pooling():
    scene = draw_scene(2, 0)
    shares_SN = torch.from_numpy(cell_shares(scene.ids.astype(np.uint8), hard=True))
    features = torch.randn(1, 5, SIZE // 32, SIZE // 32)
    for segment in scene.segments:
        mask = torch.from_numpy(scene.ids == segment["id"])[None, None]
        expected = pool_by_masks(features, 2 * mask.float() - 1)[0, 0]
        share_N = shares_SN[segment["id"] - 1]
        found = features[0].flatten(1) @ share_N / share_N.sum().clamp_min(1)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_soft_cells_hold_every_pixel_once():
    shares = cell_shares(draw_scene(2, 1).ids.astype(np.uint8), hard=False)
    assert np.allclose(shares.sum(0), 1)


def test_region_batches_name_the_segments_they_pool(pools):
    batch = draw_regions(pools[1], np.random.default_rng(0), batch=3, size=128, hard=False)
    assert batch.images.shape == (3, 128, 128, 3)
    assert batch.weights.shape == (len(batch.classes), 16)
    assert np.allclose(batch.weights.sum(1), 1)
    assert set(batch.picture) == {0, 1, 2}
    known = {int(c) for row in pools[1].categories for c in row if c >= 0}
    assert set(batch.classes.tolist()) <= known


def test_captions_speak_of_their_class():
    captions = draw_captions(np.random.default_rng(0), [3, 69], each=4, places=[(3, 65)])
    for text, c, place in zip(captions.texts, captions.classes, captions.places, strict=True):
        assert any(name in text for name in all_names(int(c)))
        if place >= 0:
            assert any(name in text for name in all_names(int(place)))
    counts = np.bincount(captions.classes, minlength=len(ALL))
    assert (counts[3], counts[69], counts[0]) == (5, 4, 1)
    things = draw_captions(np.random.default_rng(0), [3], things_only=True)
    assert all(CLASSES[c].is_thing for c in things.classes)


def test_loss_is_that_of_a_uniform_choice_among_the_positives():
    positive = torch.tensor([[True, True, False], [False, False, True]])
    logits = torch.where(positive, 60.0, 0.0)
    assert multi_positive_loss(logits, positive).item() == pytest.approx(np.log(2) / 2, abs=1e-4)
    assert multi_positive_loss(-logits, positive).item() > 10
    no_pair = torch.cat([positive, torch.zeros(1, 3, dtype=torch.bool)])
    extended = torch.cat([logits, torch.randn(1, 3)])
    assert multi_positive_loss(extended, no_pair) == multi_positive_loss(logits, positive)


def test_exported_clip_says_the_same_through_the_ordinary_door(tmp_path):
    model = MiniatureClip(str(CLIP_CONFIG)).eval()
    model.export(tmp_path / "clip.safetensors")
    loaded = load_clip(str(CLIP_CONFIG), str(tmp_path / "clip.safetensors"))
    text = ClipText(loaded)
    prompts = ["a photo of a jade hoop.", "There is the scarlet five-pointed star in the scene"]
    with torch.no_grad():
        ours, theirs = model.encode_texts(prompts), text.encode(*text.tokenize(prompts))
        torch.testing.assert_close(ours, F.normalize(theirs, dim=-1), rtol=0, atol=5e-3)
        images = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
        ours = model.embed(model.dense(images).mean(1))
        mean, std = torch.tensor([122.77, 116.75, 104.09]), torch.tensor([68.5, 66.63, 70.32])
        normalised = ((torch.from_numpy(images) - mean) / std).permute(0, 3, 1, 2)
        theirs = F.normalize(loaded.encode_image(normalised), dim=-1)
    assert F.cosine_similarity(ours, theirs).item() > 0.99  # bfloat16 against float32


def test_sam_batches_prompts_as_segment_anything_does_one_picture():
    model = MiniatureSam()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, SIZE, SIZE, 3), dtype=np.uint8)
    points, labels = (
        torch.rand(3, 3, 2) * SIZE,
        torch.tensor([[1.0, -1, -1], [1, 0, -1], [1, 1, 0]]),
    )
    picture = torch.tensor([1, 0, 1])
    with torch.no_grad():
        masks, quality = model(images, picture, points, labels)
        for p in range(3):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                image = torch.from_numpy(images[[int(picture[p])]]).permute(0, 3, 1, 2)
                embedding = model.sam.image_encoder(
                    (image - model.sam.pixel_mean) / model.sam.pixel_std
                ).float()
            sparse, dense = model.sam.prompt_encoder(
                points=(points[p : p + 1], labels[p : p + 1]), boxes=None, masks=None
            )
            one, iou = model.sam.mask_decoder(
                image_embeddings=embedding,
                image_pe=model.sam.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=True,
            )
            torch.testing.assert_close(masks[p, 1:], one[0], rtol=1e-3, atol=1e-2)
            torch.testing.assert_close(quality[p, 1:], iou[0], rtol=1e-3, atol=1e-2)


def test_clicks_lie_where_their_labels_say():
    mask = draw_scene(0, 0).ids == 1
    points, labels = draw_clicks(np.stack([mask] * 40), np.random.default_rng(0))
    assert (labels[:, 0] == 1).all()
    assert {-1.0, 0.0, 1.0} == set(labels.ravel().tolist())
    for (x, y), label in zip(points.reshape(-1, 2), labels.ravel(), strict=True):
        if label >= 0:
            assert mask[int(y), int(x)] == bool(label)


def test_mask_losses_are_zero_for_the_truth_and_large_for_the_opposite():
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    logits = 40 * torch.stack([target, 1 - target], 1)[:, :, 0] - 20
    assert torch.allclose(dice_loss(logits, target), torch.tensor([[0.0, 0.98]]), atol=0.02)
    assert torch.allclose(focal_loss(logits, target), torch.tensor([[0.0, 20.0]]), atol=1e-3)
    assert torch.equal(mask_iou(logits, target), torch.tensor([[1.0, 0.0]]))


def test_a_stopped_training_goes_on_exactly(tmp_path):
    def make():
        torch.manual_seed(0)
        return nn.Linear(4, 1)

    def losses(stop_at, model):
        def loss(step, progress):
            if step == stop_at:
                raise KeyboardInterrupt
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
            return (model(x).squeeze(1) - x.sum(1)).square().mean(), {}

        return loss

    schedule = Schedule(minutes=0, steps=30, peak_rate=0.3, log_every=1, save_every=0.0)
    whole = make()
    train(whole, losses(-1, whole), schedule, tmp_path / "whole", resume=False)
    parts = make()
    with pytest.raises(KeyboardInterrupt):
        train(parts, losses(11, parts), schedule, tmp_path / "parts", resume=False)
    fresh = make()
    train(fresh, losses(-1, fresh), schedule, tmp_path / "parts", resume=True)
    assert torch.equal(whole.weight, fresh.weight)
    logs = [_read_log(tmp_path / name / "log.jsonl") for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert [row["step"] for row in logs[0]] == [*range(1, 31)]
    assert logs[0][-1]["loss"] < logs[0][0]["loss"]


def _read_log(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: row[key] for key in row if key != "seconds"} for row in rows]


@pytest.mark.parametrize("kind", ["clip", "sam"])
def test_every_weight_learns(kind, pools):
    torch.manual_seed(0)
    if kind == "clip":
        model = MiniatureClip(str(CLIP_CONFIG))
        task = ClipTask(model, pools[1], pools[2], 0, [Stage(1.0, 64, 4, 0.5, 64, 4)])
    else:
        model = MiniatureSam()
        task = SamTask(model, pools[1], 0, batch=2)
    for step in range(3 if kind == "clip" else 1):  # draws scenes and crops
        loss, figures = task.loss(step, 0.0)
        loss.backward()
        assert torch.isfinite(loss)
        assert all(0 <= value <= 1 for value in figures.values())
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    # Prompts by masks and boxes; and of the alternative masks only the best one learns.
    unused = ("mask_downscaling", "point_embeddings.2", "point_embeddings.3", "networks_mlps")
    assert [name for name in idle if not any(part in name for part in unused)] == []


def test_crop_batches_have_their_classes(pools):
    images, things, stuff = draw_crops(pools[2], np.random.default_rng(0), batch=5, size=64)
    assert images.shape == (5, 64, 64, 3)
    assert all(CLASSES[c].is_thing for c in things)
    assert not any(CLASSES[c].is_thing for c in stuff)


def test_wrong_sam_weights_are_refused(tmp_path):
    arguments = argparse.Namespace(weights=tmp_path, models=["sam"], seed=0, scenes=1)
    with pytest.raises(FileNotFoundError, match="pretrain_miniature"):
        evaluate(arguments)
    MiniatureClip(str(CLIP_CONFIG)).export(tmp_path / "miniature_sam.safetensors")
    with pytest.raises(ValueError, match="does not fit"):
        evaluate(arguments)
    assert sum(p.numel() for p in MiniatureSam().parameters()) < 2_000_000


def test_shipped_clip_names_masks_and_crops():
    """A small sample of what docs/miniature_pretraining.md reports."""
    weights = str(WEIGHTS / "miniature_clip.safetensors")
    figures = evaluate_clip(str(CLIP_CONFIG), weights, seed=99, scenes=30, crops=100, sizes=[256])
    assert figures["crops"]["all"] >= 95
    assert figures["masks_256"]["things"] >= 80
    assert figures["masks_256"]["stuff"] >= 90


def test_shipped_sam_cuts_out_things():
    """A small sample of what docs/miniature_pretraining.md reports."""
    weights = WEIGHTS / "miniature_sam.safetensors"
    figures = evaluate_sam(weights, seed=99, scenes=15, automatic_scenes=3)
    assert figures["one_click"]["center_single"] >= 75
    assert figures["one_click"]["center_single_stuff"] >= 90
    assert figures["automatic"]["things_found"] >= 85


def test_shipped_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.iterdir()) <= 25 * 2**20
