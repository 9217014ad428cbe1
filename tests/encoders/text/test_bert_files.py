from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import save_file

from frozenseg.encoders.text.bert_files import build_bert, read_bert_folder, read_vocabulary


def check_loaded(folder, make_bert, weights=None) -> None:
    model, words = build_bert(read_bert_folder(folder, weights), "cpu", label="tiny")
    expected, actual = make_bert().state_dict(), model.state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert words["cat"] == 12
    assert not model.training


def test_what_transformers_saves_is_read(bert_folder, make_bert, caplog):
    folder = bert_folder()
    make_bert().save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()
    check_loaded(folder, make_bert)
    assert not caplog.records


def test_released_files_have_heads_and_old_names(bert_folder, make_bert):
    """bert-base-uncased: saved with both pre-training heads, norms named as in TensorFlow."""
    folder = bert_folder()
    state = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in make_bert().state_dict().items()
    }
    assert "bert.embeddings.LayerNorm.gamma" in state
    state |= {
        "bert.pooler.dense.weight": torch.ones(16, 16),
        "bert.embeddings.position_ids": torch.arange(10)[None],
        "cls.predictions.bias": torch.ones(24),
        "cls.seq_relationship.weight": torch.ones(2, 16),
    }
    save_file(state, folder / "model.safetensors")
    check_loaded(folder, make_bert)


def test_older_downloads_are_read_without_unpickling(bert_folder, make_bert):
    folder = bert_folder()
    torch.save(make_bert().state_dict(), folder / "pytorch_model.bin")
    check_loaded(folder, make_bert)


def test_a_weights_file_replaces_the_folders(bert_folder, make_bert, tmp_path):
    folder = bert_folder()
    other = {name: tensor + 1 for name, tensor in make_bert().state_dict().items()}
    save_file(other, folder / "model.safetensors")
    save_file(dict(make_bert().state_dict()), tmp_path / "mine.safetensors")
    check_loaded(folder, make_bert, tmp_path / "mine.safetensors")


def test_half_precision_fills_float32(bert_folder, make_bert):
    folder = bert_folder()
    state = {name: tensor.half() for name, tensor in make_bert().state_dict().items()}
    save_file(state, folder / "model.safetensors")
    model, _ = build_bert(read_bert_folder(folder), "cpu", label="tiny")
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(model.state_dict()[name], state[name].float())


def test_random_weights_are_announced_once(bert_folder, make_bert, caplog):
    with caplog.at_level(logging.WARNING, logger="frozenseg"):
        build_bert(read_bert_folder(bert_folder()), "cpu", label="tiny")
    messages = [record.message for record in caplog.records if "random weights" in record.message]
    assert messages == [
        "language encoder tiny has random weights: words mean nothing to it until weights are "
        "loaded"
    ]


def test_meta_reads_no_weights(bert_folder, make_bert):
    folder = bert_folder()
    (folder / "model.safetensors").write_bytes(b"not one")
    model, words = build_bert(read_bert_folder(folder), "meta", label="tiny")
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
    assert words["cat"] == 12


@pytest.mark.parametrize("name", ["config.json", "vocab.txt"])
def test_missing_files_are_named(bert_folder, name):
    folder = bert_folder()
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} not found: .*model.safetensors"):
        read_bert_folder(folder)
    with pytest.raises(FileNotFoundError, match=r"gone\.bin"):
        read_bert_folder(bert_folder(), folder / "gone.bin")


def test_casing_is_read(bert_folder):
    folder = bert_folder()
    assert read_bert_folder(folder).lowercase
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    assert not read_bert_folder(folder).lowercase


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["[PAD]", "[UNK]", "[CLS]", "a"], r"lacks \[SEP\]"),
        (["a", "[PAD]", "[UNK]", "[CLS]", "[SEP]"], r"\[PAD\] is word 1"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "a"], r"1 word\(s\) occur twice"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(str, range(21))], "25 words, .* vocab_size 24"),
    ],
)
def test_bad_vocabularies_are_refused(bert_folder, words, message):
    with pytest.raises(ValueError, match=rf"vocab.txt: {message}"):
        read_vocabulary(bert_folder(words=words) / "vocab.txt", size=24)


def test_bad_configurations_are_refused(bert_folder, make_bert):
    with pytest.raises(ValueError, match="model_type is 'roberta'"):
        read_bert_folder(bert_folder(model_type="roberta"))
    with pytest.raises(ValueError, match=r"tiny: cannot build .* config\.json: .*heads"):
        build_bert(read_bert_folder(bert_folder(num_attention_heads=3)), "cpu", label="tiny")
    folder = bert_folder()
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        read_bert_folder(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda s: s.pop("embeddings.LayerNorm.bias"),
            "1 missing, first embeddings.LayerNorm.bias",
        ),
        (lambda s: s.update(extra=torch.ones(1)), "1 unexpected, first extra"),
    ],
)
def test_other_weights_are_refused(bert_folder, make_bert, change, message):
    folder, state = bert_folder(), dict(make_bert().state_dict())
    change(state)
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ValueError, match=rf"tiny: parameters {message}"):
        build_bert(read_bert_folder(folder), "cpu", label="tiny")
