from __future__ import annotations

import json
import logging

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from frozenseg.encoders.shard_store import ShardStore
from frozenseg.encoders.text import word_vectors
from frozenseg.encoders.text.classifier import TextClassifierBuilder
from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.vocab.templates import get_templates
from frozenseg.vocab.vocabulary import Vocabulary
from tests.golden_models import load_golden_clip

TEMPLATES = ("a photo of a {}.", "{}", "This is a photo of a large {}")
WORDS = ["cat", "traffic light", "dog", "a rather long name of a thing", "Cat"]


class CountingText:
    """A text tower of one character per token that remembers what it computed."""

    context_length = 64
    embed_dim = 6
    device = torch.device("cpu")

    def __init__(self, digest: str = "one"):
        self.digest = digest
        self.computed: list[torch.Tensor] = []
        self.fail_after: int | None = None

    def tokenize(self, texts):
        rows = [[1, *map(ord, text.lower())][: self.context_length - 1] + [999] for text in texts]
        lengths = torch.tensor([len(row) for row in rows])
        length = int(lengths.max())
        tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
        return tokens, torch.arange(length) < lengths[:, None]

    def exceeds_context(self, text):
        return len(text) + 2 > self.context_length

    def encode(self, tokens, is_token):
        if self.fail_after is not None and len(self.computed) >= self.fail_after:
            raise KeyboardInterrupt
        self.computed.append(tokens)
        table = torch.randn(1000, 6, generator=torch.Generator().manual_seed(3))
        table[0] = 0
        return (table[tokens] * torch.arange(1, tokens.shape[1] + 1)[:, None]).sum(1)

    @property
    def rows(self):
        return sum(map(len, self.computed))


def plain_embeddings(text, words, templates=TEMPLATES):
    """Prompt by prompt: normalise, average, normalise."""
    rows = []
    for word in words:
        prompts = [template.replace("{}", word) for template in templates]
        encoded = [text.encode(*text.tokenize([prompt])) for prompt in prompts]
        parts = [F.normalize(vector, dim=-1)[0] for vector in encoded]
        rows.append(F.normalize(torch.stack(parts).mean(0), dim=-1))
    return torch.stack(rows)


@pytest.mark.parametrize("batch_size", [1, 4, 256])
def test_embeddings_are_normalised_means_of_normalised_prompts(batch_size):
    builder = TextClassifierBuilder(CountingText(), templates=TEMPLATES, batch_size=batch_size)
    actual = builder.embed(WORDS)
    torch.testing.assert_close(actual, plain_embeddings(CountingText(), WORDS))
    torch.testing.assert_close(actual.norm(dim=-1), torch.ones(len(WORDS)))


@torch.no_grad()
@pytest.mark.parametrize(("kind", "quick"), [("convnext", False), ("resnet", True)])
def test_embeddings_equal_those_of_the_full_context(make_clip, kind, quick):
    model = make_clip(kind, quick_gelu=quick)
    builder = TextClassifierBuilder(ClipText(model), templates=TEMPLATES, batch_size=4)
    prompts = [template.replace("{}", word) for word in WORDS for template in TEMPLATES]
    full = F.normalize(model.encode_text(open_clip.tokenize(prompts)), dim=-1)
    expected = F.normalize(full.reshape(len(WORDS), len(TEMPLATES), -1).mean(1), dim=-1)
    torch.testing.assert_close(builder.embed(WORDS), expected, atol=1e-5, rtol=1e-5)


def test_classifier_has_a_row_per_synonym_in_order():
    vocabulary = Vocabulary.from_names(["cat, kitten", "dog", "sky, clouds, heaven"])
    builder = TextClassifierBuilder(CountingText(), templates=TEMPLATES)
    result = builder(vocabulary)
    assert result.class_of_synonym_S.tolist() == [0, 0, 1, 2, 2, 2]
    assert result.num_classes == 3
    expected = builder.embed(["cat", "kitten", "dog", "sky", "clouds", "heaven"])
    assert torch.equal(result.embeddings_SK, expected)


def test_short_prompts_do_not_pay_for_long_ones_and_equal_ones_are_computed_once():
    text = CountingText()
    TextClassifierBuilder(text, templates=TEMPLATES, batch_size=2).embed(WORDS)
    assert text.rows == 4 * len(TEMPLATES)  # "cat" and "Cat" have the same tokens
    for tokens in text.computed:
        assert (tokens[:, -1] != 0).any()
    lengths = [tokens.shape[1] for tokens in text.computed]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_an_equal_vocabulary_costs_nothing():
    text = CountingText()
    builder = TextClassifierBuilder(text, templates=TEMPLATES)
    first = builder(Vocabulary.from_names(["cat", "dog"]))
    rows = text.rows
    assert builder(Vocabulary.from_names(["cat", "dog"])) is first
    assert text.rows == rows


def test_recent_vocabularies_do_not_pile_up():
    builder = TextClassifierBuilder(CountingText(), templates=TEMPLATES)
    for index in range(40):
        builder(Vocabulary.from_names([f"thing {index}"]))
    assert len(builder._built) <= 16


def test_words_that_nobody_uses_are_forgotten(monkeypatch):
    monkeypatch.setattr("frozenseg.encoders.text.word_vectors.MOST_WORDS", 3)
    builder = TextClassifierBuilder(CountingText(), templates=TEMPLATES)
    for words in (["cat", "dog"], ["cow"], ["cat"], ["hen"]):
        builder.embed(words)
    kept = builder._vectors._rows
    assert list(kept) == ["cow", "cat", "hen"]
    assert all(row.base is None for row in kept.values())
    assert len(builder.embed(["a", "b", "c", "d", "e"])) == 5  # more than are kept


@pytest.mark.parametrize("on_disk", [False, True])
def test_only_new_names_are_computed(tmp_path, on_disk):
    text = CountingText()
    builder = TextClassifierBuilder(
        text, templates=TEMPLATES, cache_dir=tmp_path if on_disk else None
    )
    builder(Vocabulary.from_names(["cat", "dog"]))
    if on_disk:
        text = CountingText()
        builder = TextClassifierBuilder(text, templates=TEMPLATES, cache_dir=tmp_path)
    else:
        text.computed.clear()
    result = builder(Vocabulary.from_names(["dog", "bird", "cat"]))
    assert text.rows == len(TEMPLATES)
    torch.testing.assert_close(
        result.embeddings_SK, plain_embeddings(CountingText(), ["dog", "bird", "cat"])
    )


def test_the_second_run_computes_nothing(tmp_path):
    first = TextClassifierBuilder(CountingText(), templates=TEMPLATES, cache_dir=tmp_path)
    expected = first.embed(WORDS)
    text = CountingText()
    second = TextClassifierBuilder(text, templates=TEMPLATES, cache_dir=tmp_path)
    assert torch.equal(second.embed(WORDS), expected)
    assert text.rows == 0


def test_forget_drops_the_memory_but_not_the_disk(tmp_path):
    text = CountingText()
    for cache_dir, cost in ((None, 2), (tmp_path, 1)):
        builder = TextClassifierBuilder(text, templates=TEMPLATES, cache_dir=cache_dir)
        text.computed.clear()
        builder.embed(["cat"])
        builder.forget()
        builder.embed(["cat"])
        assert text.rows == cost * len(TEMPLATES)


def test_other_weights_or_templates_are_another_key(tmp_path):
    TextClassifierBuilder(CountingText(), templates=TEMPLATES, cache_dir=tmp_path).embed(["cat"])
    for digest, templates in (
        ("two", TEMPLATES),
        ("one", TEMPLATES[:2]),
        ("one", TEMPLATES[::-1]),
    ):
        text = CountingText(digest)
        TextClassifierBuilder(text, templates=templates, cache_dir=tmp_path).embed(["cat"])
        assert text.rows == len(templates)


def test_weights_loaded_later_are_noticed(make_clip):
    text = ClipText(make_clip("resnet"))
    builder = TextClassifierBuilder(text, templates=TEMPLATES)
    vocabulary = Vocabulary.from_names(["cat", "dog"])
    before = builder(vocabulary)
    with torch.no_grad():
        text._tower.text_projection[:, 0] *= 2
    after = builder(vocabulary)
    assert (after.embeddings_SK - before.embeddings_SK).abs().max() > 1e-3


def test_damaged_cache_is_built_again(tmp_path, caplog):
    expected = TextClassifierBuilder(CountingText(), templates=TEMPLATES, cache_dir=tmp_path).embed(
        WORDS
    )
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    path.write_bytes(path.read_bytes()[:-20])
    text = CountingText()
    builder = TextClassifierBuilder(text, templates=TEMPLATES, cache_dir=tmp_path)
    assert torch.equal(builder.embed(WORDS), expected)
    assert text.rows > 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    again = CountingText()
    TextClassifierBuilder(again, templates=TEMPLATES, cache_dir=tmp_path).embed(WORDS)
    assert again.rows == 0


def test_an_interrupted_build_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(word_vectors, "_GROUP", 2)
    text = CountingText()
    text.fail_after = 2
    words = ["aa", "bb", "cc", "dd", "ee", "ff"]
    builder = TextClassifierBuilder(text, templates=TEMPLATES, cache_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        builder.embed(words)
    resumed = CountingText()
    builder = TextClassifierBuilder(resumed, templates=TEMPLATES, cache_dir=tmp_path)
    torch.testing.assert_close(builder.embed(words), plain_embeddings(CountingText(), words))
    assert resumed.rows == 2 * len(TEMPLATES)


def test_names_that_are_cut_are_named_in_one_warning(caplog):
    long = "an endless name " * 4
    builder = TextClassifierBuilder(CountingText(), templates=TEMPLATES)
    builder.embed(["cat", long, long + "more"])
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.getMessage().startswith("2 name(s) too long for the text tower's 64 tokens")
    assert repr(long) in record.getMessage()
    assert "cat'" not in record.getMessage()


def test_braces_in_a_name_are_text():
    builder = TextClassifierBuilder(CountingText(), templates=TEMPLATES)
    torch.testing.assert_close(
        builder.embed(["{0}", "{}"]), plain_embeddings(CountingText(), ["{0}", "{}"])
    )


@pytest.mark.parametrize("templates", [(), ("a photo",), ("{} and {}",)])
def test_bad_templates_are_refused(templates):
    with pytest.raises(ValueError, match="template"):
        TextClassifierBuilder(CountingText(), templates=templates)


def test_no_words_are_refused():
    with pytest.raises(ValueError, match="at least one word"):
        TextClassifierBuilder(CountingText(), templates=TEMPLATES).embed([])


@pytest.mark.golden
def test_golden_text_classifier(golden_dir, tmp_path):
    folder = golden_dir / "fcclip_tiny_convnext"
    names = json.loads((folder / "vocab.json").read_text())["test_stuff_classes"]
    expected = torch.load(folder / "eval.pt", weights_only=True)["test_text_classifier"]
    text = load_golden_clip(folder, tmp_path).text
    builder = TextClassifierBuilder(text, templates=get_templates("vild_14"), cache_dir=tmp_path)
    words = [word for name in names for word in name.split(",")]
    actual = builder.embed(words)
    assert actual.shape == expected.shape == (403, 32)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "rows",
    [
        torch.full((2, 6), float("nan")),
        torch.tensor([[float("inf")] * 6, [1.0] * 6]),
        torch.ones(2, 5),
        torch.ones(2, 6, dtype=torch.float64),
    ],
)
def test_kept_vectors_that_cannot_be_right_are_computed_again(tmp_path, caplog, rows):
    expected = TextClassifierBuilder(CountingText(), templates=TEMPLATES).embed(["cat", "dog"])
    spoiled = TextClassifierBuilder(CountingText(), templates=TEMPLATES, cache_dir=tmp_path)
    spoiled.embed(["cat", "dog"])
    (path,) = tmp_path.rglob("*.safetensors")
    with safe_open(str(path), framework="pt") as shard:
        metadata = shard.metadata()
    store = ShardStore(path.parent, "text embeddings")
    checks = [
        store._checksum(key, row.numpy()) for key, row in zip(["cat", "dog"], rows, strict=True)
    ]
    save_file({"rows": rows}, path, {**metadata, "checks": json.dumps(checks)})
    for computed in (True, False):
        text = CountingText()
        again = TextClassifierBuilder(text, templates=TEMPLATES, cache_dir=tmp_path)
        assert torch.equal(again.embed(["cat", "dog"]), expected)
        assert (text.rows > 0) == computed
    assert caplog.text.count("text embeddings are computed again") == 1


def test_names_that_are_cut_are_named_again_where_they_are_cached(caplog, tmp_path):
    words = Vocabulary.parse("cat; " + "an endless name " * 4)
    for _ in range(2):
        TextClassifierBuilder(CountingText(), templates=TEMPLATES, cache_dir=tmp_path)(words)
    cut = [record for record in caplog.records if "too long" in record.getMessage()]
    assert len(cut) == 2
