"""The miniature language-only encoder: its texts, its tasks, its files, what is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from frozenseg.data.miniature.classes import ALL, CLASSES, all_names
from frozenseg.encoders.text.language import load_language_encoder
from frozenseg.vocab.templates import TEMPLATE_SETS, fill_templates
from tools.miniature.language_evaluation import evaluate_language
from tools.miniature.language_texts import SPECIAL_TOKENS, draw_neighbors, draw_text, vocabulary
from tools.miniature.language_training import LanguageTask, MiniatureBert, blank_out
from tools.miniature.runs import BERT_FOLDER
from tools.miniature.training import Schedule, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "pretrain_miniature.py"
BERT_WEIGHTS = ROOT / "frozenseg" / "weights" / "miniature_bert.safetensors"


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    return MiniatureBert(BERT_FOLDER).eval()


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
        theirs = encoder.encode(*encoder.tokenize(prompts))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=5e-3)


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


def test_a_stopped_training_goes_on_exactly(tmp_path):
    def make():
        torch.manual_seed(0)
        model = MiniatureBert(BERT_FOLDER)
        return model, LanguageTask(model, 0, texts=4, pairs=4).loss

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
    """One number for every word tells new pairs of known words, but nothing about new words."""
    words = sorted({word for c in ALL for name in all_names(c) for word in name.split()})

    def one_hot(names):
        return torch.tensor([[float(word in name.split()) for word in words] for name in names])

    figures = evaluate_language(one_hot)
    assert figures["new_pairs_color"] == figures["new_pairs_shape"] == 100
    assert figures["new_words_color"] < 40


def test_shipped_language_encoder_knows_words_of_one_meaning():
    """A small sample of what docs/miniature_pretraining.md reports."""
    encoder = load_language_encoder(str(BERT_FOLDER), str(BERT_WEIGHTS))
    figures = evaluate_language(lambda names: encoder.encode(*encoder.tokenize(names)))
    assert min(figures.values()) >= 90


def test_shipped_weights_are_small_and_say_how_they_were_made():
    assert BERT_WEIGHTS.stat().st_size <= 0.5 * 2**20
    facts = json.loads(BERT_WEIGHTS.with_suffix(".json").read_text())
    assert facts["model"] == BERT_WEIGHTS.stem
    assert facts["measured"]["trained"]
