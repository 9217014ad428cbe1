"""The vision-only and language-only encoders of the miniature world: tasks, files, figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from frozenseg.data.miniature import draw_scene
from frozenseg.data.miniature_classes import ALL, CLASSES, SHAPES, all_names
from frozenseg.data.miniature_outlines import outline
from frozenseg.encoders.language import load_language_encoder
from frozenseg.encoders.visual import load_visual_encoder
from frozenseg.vocab.templates import TEMPLATE_SETS, fill_templates
from tools.miniature.language_evaluation import compare_language, evaluate_language
from tools.miniature.language_texts import (
    SPECIAL_TOKENS,
    draw_neighbors,
    draw_text,
    vocabulary,
)
from tools.miniature.language_training import LanguageTask, MiniatureBert, blank_out
from tools.miniature.pool import open_crops, open_scenes
from tools.miniature.runs import BERT_FOLDER, VIT_CONFIG
from tools.miniature.saliency import Cutouts, describe_outlines, salient_mask
from tools.miniature.training import Schedule, train
from tools.miniature.vision_evaluation import evaluate_vision
from tools.miniature.vision_training import (
    MiniatureVision,
    VisionTask,
    contrast,
    draw_blanks,
    normalise,
    read_vit_config,
    sample_cells,
)
from tools.miniature.vision_views import PATCH, draw_matrix, draw_views

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "pretrain_miniature.py"
WEIGHTS = ROOT / "frozenseg" / "weights"
VIT_WEIGHTS, BERT_WEIGHTS = (WEIGHTS / f"miniature_{name}.safetensors" for name in ("vit", "bert"))
_VIT = {"img_size": 256, "patch_size": 32, "embed_dim": 16, "depth": 1, "num_heads": 2}
_VIT |= {"num_classes": 0, "class_token": False, "global_pool": ""}


@pytest.fixture(scope="module")
def pools(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pool")
    return folder, open_scenes(folder, seed=1, count=6), open_crops(folder, seed=1, count=20)


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    return MiniatureBert(BERT_FOLDER).eval()


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
    model = MiniatureVision(read_vit_config(VIT_CONFIG)).eval()
    model.export(tmp_path / "vit.safetensors")
    encoder = load_visual_encoder(str(VIT_CONFIG), str(tmp_path / "vit.safetensors"))
    images = normalise(np.stack([draw_scene(0, 0).image]).astype(np.float32))
    with torch.no_grad():
        ours = model(images).transpose(1, 2).unflatten(2, (8, 8))
    theirs = encoder(images)
    assert theirs.shape == (1, 128, 8, 8)
    assert torch.nn.functional.cosine_similarity(ours, theirs).min() > 0.99  # bfloat16


def test_vocabulary_file_has_the_words_of_texts_and_prompts(bert):
    lines = (BERT_FOLDER / "vocab.txt").read_text(encoding="utf-8").splitlines()
    assert tuple(lines) == vocabulary()
    assert lines[0] == "[PAD]"
    assert json.loads((BERT_FOLDER / "config.json").read_text())["vocab_size"] == len(lines)
    names = [name for c in ALL for name in all_names(c)]
    prompts = [t for templates in TEMPLATE_SETS.values() for t in templates]
    generator = np.random.default_rng(0)
    texts = [draw_text(generator) for _ in range(300)]
    unknown = SPECIAL_TOKENS.index("[UNK]")
    for text in (*names, *fill_templates(prompts, "red star"), *texts):
        tokens = bert.tokenize([text])
        assert unknown not in tokens, text
        assert tokens.shape[1] <= 64


def test_every_class_occurs_in_the_texts():
    generator = np.random.default_rng(0)
    texts = [draw_text(generator) for _ in range(3000)]
    for c in ALL:
        assert any(name in text for name in all_names(c) for text in texts), CLASSES[c].name


def test_neighbours_speak_of_one_thing():
    generator = np.random.default_rng(0)
    for _ in range(200):
        one, other = draw_neighbors(generator)
        about = [
            {c for c in ALL for name in all_names(c) if f" {name} " in f" {_plain(text)} "}
            for text in (one, other)
        ]
        assert about[0] & about[1], (one, other)


def _plain(text):
    return text.lower().replace(".", " ").replace(",", " ")


def test_blanks_hide_words_only():
    tokens = np.array([[2, 7, 8, 9, 3, 0]] * 400)
    shown, asked = blank_out(np.random.default_rng(0), tokens)
    assert not asked[:, [0, 4, 5]].any()
    assert (shown[~asked] == tokens[~asked]).all()
    assert 0.2 < asked[:, 1:4].mean() < 0.3
    fates = shown[asked]
    assert 0.7 < (fates == SPECIAL_TOKENS.index("[MASK]")).mean() < 0.9
    assert (fates == tokens[asked]).any()


def test_every_weight_of_the_language_encoder_learns():
    torch.manual_seed(0)
    model = MiniatureBert(BERT_FOLDER)
    loss, figures = LanguageTask(model, 0, texts=32, pairs=16).loss(0, 0.0)
    loss.backward()
    assert all(0 <= figures[name] <= 1 for name in ("words", "sentences"))
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()}
    assert idle == set()


def test_exported_language_encoder_says_the_same_through_the_ordinary_door(tmp_path, bert):
    bert.export(tmp_path / "bert.safetensors")
    encoder = load_language_encoder(str(BERT_FOLDER), str(tmp_path / "bert.safetensors"))
    prompts = ["a photo of a jade hoop.", "There is the scarlet five-pointed star in the scene"]
    with torch.no_grad():
        ours = bert.sentences(prompts)
        theirs = encoder.encode(encoder.tokenize(prompts))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-3)


@pytest.mark.parametrize("kind", ["vision", "language"])
def test_a_stopped_training_goes_on_exactly(kind, pools, tmp_path):
    def make():
        torch.manual_seed(0)
        if kind == "language":
            model = MiniatureBert(BERT_FOLDER)
            return model, LanguageTask(model, 0, texts=4, pairs=4).loss
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


def test_the_tool_trains_a_language_encoder_without_pictures(tmp_path):
    command = [sys.executable, str(TOOL), "language", "--steps", "2", "--threads", "1"]
    command += ["--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "miniature_bert.json").read_text())
    assert facts["steps"] == 2
    assert facts["command"] == (
        "python tools/pretrain_miniature.py language --steps 2 --seed 0 --threads 1"
    )
    assert (tmp_path / "language" / "curves.png").is_file()
    load_language_encoder(str(BERT_FOLDER), str(tmp_path / "miniature_bert.safetensors"))


def test_probes_read_what_is_there_and_guess_what_is_not():
    """Encoders that know the answer: the mean colour of a cell, and words of one-hot vectors."""

    def mean_color(images):
        return torch.nn.functional.avg_pool2d(images, PATCH)

    figures = evaluate_vision(mean_color, seed=8, scenes=20, probe_scenes=60)
    assert figures["color"] > 60
    assert figures["shape"] < 35

    def one_hot(names):
        words = sorted({word for c in ALL for name in all_names(c) for word in name.split()})
        rows = [[float(word in name.split()) for word in words] for name in names]
        return torch.tensor(rows)

    figures = evaluate_language(one_hot)
    assert figures["new_pairs_color"] == figures["new_pairs_shape"] == 100
    assert figures["new_words_color"] < 40


def test_shipped_vision_encoder_tells_colours_and_shapes():
    """A small sample of what docs/miniature_pretraining.md reports."""
    encoder = load_visual_encoder(str(VIT_CONFIG), str(VIT_WEIGHTS))
    figures = evaluate_vision(encoder, seed=99, scenes=40, probe_scenes=150)
    assert figures["color"] >= 90
    assert figures["shape_of_things"] >= 30


def test_shipped_language_encoder_knows_words_of_one_meaning():
    """A small sample of what docs/miniature_pretraining.md reports."""
    figures = compare_language({"trained": (str(BERT_FOLDER), str(BERT_WEIGHTS))})["trained"]
    assert min(figures.values()) >= 90


def test_shipped_encoders_are_small_and_say_how_they_were_made():
    assert VIT_WEIGHTS.stat().st_size + BERT_WEIGHTS.stat().st_size <= 3 * 2**20
    for weights in (VIT_WEIGHTS, BERT_WEIGHTS):
        facts = json.loads(weights.with_suffix(".json").read_text())
        assert facts["model"] == weights.stem
        assert facts["measured"]["trained"]
