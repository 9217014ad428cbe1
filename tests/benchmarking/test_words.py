"""Words that a model has met cost no prompt; the model is left as it was."""

from __future__ import annotations

import pytest
import torch

from frozenseg.benchmarking.words import NEW_WORDS, measure_change_of_words
from frozenseg.encoders.text.classifier import TextClassifierBuilder
from frozenseg.vocab import Vocabulary

TEMPLATES = ("a {}.", "the {}.", "many {}.")


class Text:
    """A text tower whose embedding of a prompt is its letters."""

    context_length, embed_dim, device, digest = 80, 80, torch.device("cpu"), "letters"

    def tokenize(self, texts):
        rows = [[ord(letter) % 1000 for letter in text.ljust(80, "\0")[:80]] for text in texts]
        return torch.tensor(rows), torch.ones(len(rows), 80, dtype=torch.bool)

    def exceeds_context(self, text):
        return False

    def encode(self, tokens_NL, is_token_NL):
        return tokens_NL.float() + 1


class Model:
    """What the measurement asks of a model."""

    def __init__(self, cache_dir):
        self.text = Text()
        self.classifier = TextClassifierBuilder(self.text, templates=TEMPLATES, cache_dir=cache_dir)
        self.set_vocabulary(Vocabulary.parse("cat; dog"))

    def set_vocabulary(self, vocabulary):
        self.vocabulary = vocabulary


def test_only_new_words_cost_prompts(tmp_path):
    model = Model(tmp_path / "own")
    builder = model.classifier
    rows = measure_change_of_words(model, 25, tmp_path / "cache")
    assert [row["prompts"] for row in rows] == [3 * 25, 0, 3 * NEW_WORDS, 0]
    assert [row["words"] for row in rows] == [25, 25, 25 + NEW_WORDS, 25]
    assert all(row["seconds"] > 0 for row in rows)
    assert model.vocabulary.names == ("cat", "dog")
    assert model.classifier is builder
    assert "encode" not in vars(model.text)
    assert not (tmp_path / "own").exists()  # the model's own cache is not touched


@pytest.mark.parametrize("words", [-3, 10**6])
def test_a_number_of_words_that_no_table_has_is_an_error(words, tmp_path):
    with pytest.raises(ValueError, match=f"--words must be 1 to .* got {words}"):
        measure_change_of_words(Model(tmp_path), words, tmp_path)
