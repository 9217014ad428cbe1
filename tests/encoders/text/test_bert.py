from __future__ import annotations

import logging

import pytest
import torch
from safetensors.torch import save_file

from frozenseg.encoders.text.bert import BertText, load_bert
from tests.encoders.conftest import BERT_WORDS

PROMPTS = ["A photo of a red circle.", "cats", "blue star, zébra", ""]


@pytest.fixture
def text(make_bert, bert_folder):
    return build(make_bert, bert_folder())


def build(make_bert, folder):
    """The BERT of a folder with the random numbers of `make_bert`."""
    save_file(dict(make_bert().state_dict()), folder / "model.safetensors")
    return load_bert(folder, None, "cpu", label="tiny")


def reference(folder, **settings):
    import transformers

    return transformers.BertTokenizer(str(folder / "vocab.txt"), **settings)


def test_tokens_are_those_of_transformers(text, bert_folder):
    expected = reference(bert_folder())(PROMPTS, padding=True, return_tensors="pt")["input_ids"]
    tokens, is_token = text.tokenize(PROMPTS)
    assert torch.equal(tokens, expected)
    assert torch.equal(is_token, tokens != 0)
    # [CLS] cat ##s [SEP], padded; unknown: [UNK]; nothing: [CLS] [SEP]
    assert tokens[1].tolist() == [2, 12, 15, 3, 0, 0, 0, 0, 0]
    assert tokens[2].tolist() == [2, 9, 11, 14, 1, 3, 0, 0, 0]
    assert tokens[3].tolist()[:3] == [2, 3, 0]
    assert [part.shape for part in text.tokenize([])] == [(0, 0), (0, 0)]


def test_cased_models_see_capitals(make_bert, bert_folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Cat", "cat"]
    folder = bert_folder(words=words)
    uncased = build(make_bert, folder)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = build(make_bert, folder)
    assert cased.tokenize(["Cat cat"])[0].tolist() == [[2, 5, 6, 3]]
    assert uncased.tokenize(["Cat cat"])[0].tolist() == [[2, 6, 6, 3]]
    assert cased.digest != uncased.digest


def test_long_texts_lose_their_last_words(text, bert_folder):
    fits, long = " ".join(["cat"] * 8), " ".join(["cat"] * 9)
    assert text.context_length == 10
    assert not text.exceeds_context(fits)
    assert text.exceeds_context(long)
    tokens, _ = text.tokenize([fits, long])
    assert torch.equal(tokens[0], tokens[1])
    assert tokens[1].tolist() == [2, *[12] * 8, 3]
    cut = reference(bert_folder())([long], truncation=True, max_length=10)["input_ids"]
    assert tokens[1:].tolist() == cut


@torch.no_grad()
def test_embeddings_are_the_mean_of_the_last_layer_without_padding(text, make_bert):
    model = make_bert()
    embeddings = text.encode(*text.tokenize(PROMPTS))
    assert embeddings.shape == (4, text.embed_dim) == (4, 16)
    assert embeddings.std() > 0.05
    for prompt, embedding in zip(PROMPTS, embeddings, strict=True):
        alone = model(input_ids=text.tokenize([prompt])[0]).last_hidden_state[0]
        torch.testing.assert_close(embedding, alone.mean(0), atol=1e-5, rtol=1e-5)


def test_gradients_and_autocast_stay_outside(text):
    tokens = text.tokenize(PROMPTS)
    expected = text.encode(*tokens)
    assert not expected.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(text.encode(*tokens), expected)


def test_digest_follows_weights_words_and_architecture(make_bert, bert_folder):
    first, same = (build(make_bert, bert_folder()) for _ in range(2))
    assert first.digest == same.digest
    first.tokenize(PROMPTS)
    assert first.digest == same.digest
    swapped = [{"red": "blue", "blue": "red"}.get(word, word) for word in BERT_WORDS]
    assert build(make_bert, bert_folder(words=swapped)).digest != first.digest
    heads = build(make_bert, bert_folder())
    heads.model.config.num_attention_heads = 4
    assert heads.digest != first.digest
    with torch.no_grad():
        first.model.embeddings.LayerNorm.bias[0] += 1e-6
    assert first.digest != same.digest


def test_without_words_the_remedy_is_told(make_bert):
    text = BertText(make_bert(), None, missing="put vocab.txt somewhere")
    with pytest.raises(ValueError, match=r"put vocab\.txt somewhere"):
        text.tokenize(["cat"])


def check_loaded(folder, make_bert, weights=None) -> None:
    text = load_bert(folder, weights, "cpu", label="tiny")
    expected, actual = make_bert().state_dict(), text.model.state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert text.tokenize(["cat"])[0].tolist() == [[2, 12, 3]]
    assert not any(module.training for module in text.modules())
    assert not any(parameter.requires_grad for parameter in text.parameters())


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
    model = load_bert(folder, None, "cpu", label="tiny").model
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    name = "encoder.layer.1.output.dense.weight"
    assert torch.equal(model.state_dict()[name], state[name].float())


def test_random_weights_are_announced_once(bert_folder, make_bert, caplog):
    with caplog.at_level(logging.WARNING, logger="frozenseg"):
        load_bert(bert_folder(), None, "cpu", label="tiny")
    messages = [record.message for record in caplog.records if "random weights" in record.message]
    assert messages == [
        "language encoder tiny has random weights: words mean nothing to it until weights are "
        "loaded"
    ]


def test_meta_reads_no_weights(bert_folder, make_bert):
    folder = bert_folder()
    (folder / "model.safetensors").write_bytes(b"not one")
    text = load_bert(folder, None, "meta", label="tiny")
    assert {tensor.device.type for tensor in text.state_dict().values()} == {"meta"}
    assert text.tokenize(["cat"])[0].tolist() == [[2, 12, 3]]


@pytest.mark.parametrize("name", ["config.json", "vocab.txt"])
def test_missing_files_are_named(bert_folder, name):
    folder = bert_folder()
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} not found: .*model.safetensors"):
        load_bert(folder, None, "cpu", label="tiny")
    with pytest.raises(FileNotFoundError, match=r"gone\.bin"):
        load_bert(bert_folder(), folder / "gone.bin", "cpu", label="tiny")


def test_pickled_objects_are_refused(bert_folder, make_bert):
    folder = bert_folder()
    torch.save({**make_bert().state_dict(), "x": print}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="never unpickled"):
        load_bert(folder, None, "cpu", label="tiny")


def test_a_vocabulary_beyond_the_model_is_refused(bert_folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(20))]
    with pytest.raises(ValueError, match=r"vocab.txt: 25 words .* vocab_size 24"):
        load_bert(bert_folder(words=words), None, "cpu", label="tiny")


def test_bad_configurations_are_refused(bert_folder, make_bert):
    with pytest.raises(ValueError, match="model_type is 'roberta'"):
        load_bert(bert_folder(model_type="roberta"), None, "cpu", label="tiny")
    with pytest.raises(ValueError, match=r"tiny: cannot build .* config\.json: .*heads"):
        load_bert(bert_folder(num_attention_heads=3), None, "cpu", label="tiny")
    folder = bert_folder()
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json: not valid JSON"):
        load_bert(folder, None, "cpu", label="tiny")


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
        load_bert(folder, None, "cpu", label="tiny")
