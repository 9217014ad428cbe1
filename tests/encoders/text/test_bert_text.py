from __future__ import annotations

import pytest
import torch

from frozenseg.encoders.text.bert_files import read_vocabulary
from frozenseg.encoders.text.bert_text import BertText

PROMPTS = ["A photo of a red circle.", "cats", "blue star, zébra", ""]


@pytest.fixture
def text(make_bert, bert_folder):
    return BertText(make_bert(), read_vocabulary(bert_folder() / "vocab.txt", size=24))


def reference(folder, **settings):
    import transformers

    return transformers.BertTokenizer(str(folder / "vocab.txt"), **settings)


def test_tokens_are_those_of_transformers(text, bert_folder):
    expected = reference(bert_folder())(PROMPTS, padding=True, return_tensors="pt")["input_ids"]
    tokens = text.tokenize(PROMPTS)
    assert torch.equal(tokens, expected)
    # [CLS] cat ##s [SEP], padded; unknown: [UNK]; nothing: [CLS] [SEP]
    assert tokens[1].tolist() == [2, 12, 15, 3, 0, 0, 0, 0, 0]
    assert tokens[2].tolist() == [2, 9, 11, 14, 1, 3, 0, 0, 0]
    assert tokens[3].tolist()[:3] == [2, 3, 0]
    assert text.tokenize([]).shape == (0, 0)


def test_cased_models_see_capitals(make_bert, bert_folder):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "Cat", "cat"]
    vocabulary = read_vocabulary(bert_folder(words=words) / "vocab.txt", size=24)
    cased = BertText(make_bert(), vocabulary, lowercase=False)
    assert cased.tokenize(["Cat cat"]).tolist() == [[2, 5, 6, 3]]
    assert BertText(make_bert(), vocabulary).tokenize(["Cat cat"]).tolist() == [[2, 6, 6, 3]]
    assert cased.digest != BertText(make_bert(), vocabulary).digest


def test_long_texts_lose_their_last_words(text, bert_folder):
    fits, long = " ".join(["cat"] * 8), " ".join(["cat"] * 9)
    assert text.context_length == 10
    assert not text.exceeds_context(fits)
    assert text.exceeds_context(long)
    tokens = text.tokenize([fits, long])
    assert torch.equal(tokens[0], tokens[1])
    assert tokens[1].tolist() == [2, *[12] * 8, 3]
    cut = reference(bert_folder())([long], truncation=True, max_length=10)["input_ids"]
    assert tokens[1:].tolist() == cut


@torch.no_grad()
def test_embeddings_are_the_mean_of_the_last_layer_without_padding(text, make_bert):
    model = make_bert()
    embeddings = text.encode(text.tokenize(PROMPTS))
    assert embeddings.shape == (4, text.embed_dim) == (4, 16)
    assert embeddings.std() > 0.05
    for prompt, embedding in zip(PROMPTS, embeddings, strict=True):
        alone = model(input_ids=text.tokenize([prompt])).last_hidden_state[0]
        torch.testing.assert_close(embedding, alone.mean(0), atol=1e-5, rtol=1e-5)


def test_gradients_and_autocast_stay_outside(text):
    tokens = text.tokenize(PROMPTS)
    expected = text.encode(tokens)
    assert not expected.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(text.encode(tokens), expected)


def test_digest_follows_weights_words_and_architecture(make_bert, bert_folder):
    def build(words: dict[str, int] | None) -> BertText:
        return BertText(make_bert(), words)

    words = read_vocabulary(bert_folder() / "vocab.txt", size=24)
    first, same = build(words), build(words)
    assert first.digest == same.digest
    swapped = {**words, "red": words["blue"], "blue": words["red"]}
    assert build(swapped).digest != first.digest
    heads = build(words)
    heads._model.config.num_attention_heads = 4
    assert heads.digest != first.digest
    with torch.no_grad():
        first._model.embeddings.LayerNorm.bias[0] += 1e-6
    assert first.digest != same.digest


def test_without_words_the_remedy_is_told(make_bert):
    text = BertText(make_bert(), None, missing="put vocab.txt somewhere")
    with pytest.raises(ValueError, match=r"put vocab\.txt somewhere"):
        text.tokenize(["cat"])
