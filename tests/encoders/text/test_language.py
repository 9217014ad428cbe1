from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from frozenseg.checkpoints.table import HUB_REVISIONS
from frozenseg.encoders.text.classifier import TextClassifierBuilder
from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.encoders.text.language import (
    LANGUAGE_ENCODERS,
    LanguageEncoderSpec,
    brings_weights,
    load_language_encoder,
)
from frozenseg.vocab import Vocabulary

WORDS = ["red circle", "blue star", "a photo of a cat, cats, red cats"]
# Channels, tokens, and millions of parameters of the text towers alone.
ROWS = {
    "clip-vit-b-16": (512, 77, 63.4),
    "clip-vit-l-14": (768, 77, 123.7),
    "clip-rn101": (512, 77, 63.4),
    "bert-base": (768, 512, 108.9),
    "bert-large": (1024, 512, 334.1),
}


# Of the miniature BERT, recorded before transformers read its files.
TOKENS = [[2, 8, 61, 56, 8, 71, 21, 7, 3], [2, 1, 3, 0, 0, 0, 0, 0, 0]]
RECORDED = [
    [0.13947219, -0.060845912, 0.51418376, -0.71710128, 0.32650715],
    [0.3962976, -0.46657217, -0.069888584, -0.048117537, 0.0083391666],
]


@pytest.fixture
def bert(bert_folder, make_bert):
    """A folder with a whole BERT."""
    folder = bert_folder()
    save_file(dict(make_bert().state_dict()), folder / "model.safetensors")
    return folder


@pytest.fixture
def tiny_row(monkeypatch):
    """bert-base with the sizes of `bert_folder`."""
    config = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    spec = LanguageEncoderSpec(hub="google-bert/bert-base-uncased", config=config)
    monkeypatch.setitem(LANGUAGE_ENCODERS, "bert-base", spec)


@pytest.mark.slow
@pytest.mark.parametrize("name", LANGUAGE_ENCODERS)
def test_every_row_builds_without_weights_on_meta(name):
    encoder = load_language_encoder(name, "openai" if name.startswith("clip") else "hub", "meta")
    channels, length, millions = ROWS[name]
    assert (encoder.embed_dim, encoder.context_length) == (channels, length)
    assert sum(parameter.numel() for parameter in encoder.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.06
    )
    assert {tensor.device.type for tensor in encoder.state_dict().values()} == {"meta"}
    with pytest.raises(ValueError, match="meta device"):
        _ = encoder.digest


@pytest.mark.slow
def test_the_miniature_bert_says_what_it_said_before_transformers_read_it():
    folder = Path(__file__).parents[3] / "configs" / "miniature" / "miniature_bert"
    weights = Path(__file__).parents[3] / "frozenseg" / "weights" / "miniature_bert.safetensors"
    encoder = load_language_encoder(str(folder), str(weights))
    tokens, is_token = encoder.tokenize(["A photo of a red circle.", "cats"])
    assert tokens.tolist() == TOKENS
    recorded = torch.tensor(RECORDED)
    torch.testing.assert_close(encoder.encode(tokens, is_token)[:, :5], recorded, atol=1e-6, rtol=0)


@pytest.fixture(params=["clip", "bert"])
def encoder(request, clip_config, bert):
    name = clip_config("resnet") if request.param == "clip" else bert
    return load_language_encoder(str(name))


def test_it_never_changes(encoder):
    encoder.train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    tokens = encoder.tokenize(WORDS)
    assert torch.equal(encoder(*tokens), encoder.encode(*tokens))


def test_it_serves_the_text_classifier(encoder, tmp_path):
    """Prompts of unequal length in one batch, padded; each as if it were alone."""
    builder = TextClassifierBuilder(encoder, templates=["{}", "a {}."], cache_dir=tmp_path / "text")
    rows = builder(Vocabulary.from_names(WORDS)).embeddings_SK
    assert rows.shape == (5, encoder.embed_dim)
    prompts = ["blue star", "a blue star."]
    alone = torch.cat([encoder.encode(*encoder.tokenize([prompt])) for prompt in prompts])
    expected = F.normalize(F.normalize(alone.float(), dim=-1).mean(0), dim=-1)
    torch.testing.assert_close(rows[1], expected, atol=1e-5, rtol=1e-5)


def test_a_clip_keeps_its_text_tower_only(clip_config, make_clip, tmp_path):
    clip = make_clip("resnet")
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    encoder = load_language_encoder(str(clip_config("resnet")), str(tmp_path / "clip.pt"))
    assert not any("visual" in name for name, _ in encoder.named_parameters())
    text = ClipText(clip)
    assert encoder.digest == text.digest  # so that they share the cache of the classifier
    tokens = encoder.tokenize(WORDS)
    assert all(map(torch.equal, tokens, text.tokenize(WORDS)))
    torch.testing.assert_close(encoder.encode(*tokens), text.encode(*tokens), atol=1e-5, rtol=1e-5)


def test_a_folder_brings_its_own_weights(bert, bert_folder, make_bert, caplog):
    encoder = load_language_encoder(str(bert))
    tokens = encoder.tokenize(["red cat"])
    expected = make_bert()(input_ids=tokens[0]).last_hidden_state.mean(1)
    torch.testing.assert_close(encoder.encode(*tokens), expected, atol=1e-5, rtol=1e-5)
    assert "random weights" not in caplog.text
    bare = load_language_encoder(str(bert_folder()), str(bert / "model.safetensors"))
    assert bare.digest == encoder.digest


def test_whether_weights_come_is_known_beforehand(bert, bert_folder):
    assert brings_weights(str(bert), "")
    assert not brings_weights(str(bert_folder()), "")
    assert not brings_weights("bert-base", "")
    assert not brings_weights("clip-vit-b-16", "openai:")
    assert brings_weights("clip-vit-b-16", "openai")


def test_a_row_of_the_table_goes_before_a_folder_of_the_same_name(bert, monkeypatch):
    (bert.parent / "bert-base").symlink_to(bert)
    monkeypatch.chdir(bert.parent)
    assert brings_weights("./bert-base", "")
    assert not brings_weights("bert-base", "")  # as `load_language_encoder`: random


def test_rows_take_a_folder_or_a_file(bert, tiny_row):
    expected = load_language_encoder(str(bert)).digest
    assert load_language_encoder("bert-base", str(bert)).digest == expected
    assert load_language_encoder("bert-base", str(bert / "model.safetensors")).digest == expected


def test_rows_refuse_another_bert(bert):
    with pytest.raises(ValueError, match=r"vocab_size is 24, but bert-large has 30522"):
        load_language_encoder("bert-large", str(bert))


def test_the_hub_is_asked_for_three_files(bert, tiny_row, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def answer(name, file, revision):
        asked.append((name, file, revision))
        return str(bert / file)

    monkeypatch.setattr(hub, "hf_hub_download", answer)
    encoder = load_language_encoder("bert-base", "hub")
    assert encoder.digest == load_language_encoder(str(bert)).digest
    files = ["config.json", "vocab.txt", "model.safetensors"]
    hub_name = "google-bert/bert-base-uncased"
    assert asked == [(hub_name, file, HUB_REVISIONS[hub_name]) for file in files]
    (bert / "vocab.txt").write_text("other\n")
    with pytest.raises(ValueError, match=r"vocab\.txt is damaged or was replaced"):
        load_language_encoder("bert-base", "hub")


def test_a_failed_download_says_which_files_to_put_where(monkeypatch):
    hub = pytest.importorskip("huggingface_hub")

    def refuse(name, file, revision):
        raise OSError("no network in tests")

    monkeypatch.setattr(hub, "hf_hub_download", refuse)
    with pytest.raises(
        ConnectionError,
        match=r"cannot be reached.*config\.json, vocab\.txt and model\.safetensors of https",
    ):
        load_language_encoder("bert-large", "hub")


def test_missing_files_say_which_to_put_where(tmp_path, tiny_row, bert_folder):
    with pytest.raises(FileNotFoundError, match=r"gone.*bert-base-uncased into a folder"):
        load_language_encoder("bert-base", str(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError, match=r"holds no model\.safetensors\. put config\.json"):
        load_language_encoder("bert-base", str(bert_folder()))


def test_a_row_without_weights_has_no_words(tiny_row):
    encoder = load_language_encoder("bert-base")
    with pytest.raises(ValueError, match=r"bert-base has no vocab\.txt\. put config\.json"):
        encoder.tokenize(["cat"])


def test_unknown_names_get_a_hint():
    with pytest.raises(ValueError, match=r"'bert-bse': did you mean bert-base.*folder with a BERT"):
        load_language_encoder("bert-bse")


def test_transformers_is_asked_for_only_by_berts(monkeypatch, bert, clip_config):
    monkeypatch.setitem(sys.modules, "transformers", None)
    load_language_encoder(str(clip_config("resnet")))
    with pytest.raises(ImportError, match=r"needs transformers: pip install"):
        load_language_encoder(str(bert))
