"""Words of an exported text tower: the same ids, vectors and cache files as the eager one's."""

from __future__ import annotations

import random
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from frozenseg.encoders.text.bert import BertText
from frozenseg.encoders.text.classifier import TextClassifierBuilder
from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.encoders.text.language import load_language_encoder
from frozenseg.encoders.text.word_vectors import WordVectors
from frozenseg.exporting.text import export_text, tokenizer_of
from frozenseg.exporting.words import TEXT_GRAPH, TOKENIZER, ExportedText
from frozenseg.files import PACKAGED_WEIGHTS
from frozenseg.vocab import get_templates

CONFIGS = Path(__file__).parents[2] / "configs" / "miniature"

TEXTS = [
    "cat",
    "a photo of a Café CRÈME.",
    "e\u0301 İstanbul ΣΑΣ ß ẞ ǅ \u0345x",
    "emoji 👩‍👩‍👧 🇩🇪 😀",
    "&amp;lt;b&amp;gt; &eacute;&nbsp;&#39;s",
    "  many\t\n\u00a0\u3000spaces ",
    "",
    "CAPS'S they'Re I'LL don't",
    "baker\u2019s \u201chat\u201d \ufb01sh \uff21\uff22 cafÃ©",
    "1234 3.14 Ⅷ ½ ²",
    "日本語 漢字 नमस्ते עברית",
    "\x00null \u200b \ufeff soft\u00adhyphen",
    "<start_of_text> cat <END_OF_TEXT> dog",
    "!<end_of_text> x<end_of_text>y <end_of_text",
    "a" * 300,
    "a very long name of a thing " * 20,
    "é" * 76,
    "<b>&unknown; {} {0} \\n %s a_b-c/d",
]


@pytest.fixture(scope="module")
def clip_text() -> ClipText:
    weights = str(PACKAGED_WEIGHTS / "miniature_clip.safetensors")
    text = load_language_encoder(str(CONFIGS / "miniature_clip.json"), weights)
    assert isinstance(text, ClipText)
    return text


@pytest.fixture(scope="module")
def bert_text() -> BertText:
    weights = str(PACKAGED_WEIGHTS / "miniature_bert.safetensors")
    text = load_language_encoder(str(CONFIGS / "miniature_bert"), weights)
    assert isinstance(text, BertText)
    return text


def exported(text: ClipText | BertText, folder: Path) -> ExportedText:
    export_text(text, folder)
    return ExportedText(folder, text.digest, onnxruntime.InferenceSession(folder / TEXT_GRAPH))


@pytest.fixture(scope="module")
def clip_files(clip_text, tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("clip")
    export_text(clip_text, folder)
    return folder


@pytest.fixture(scope="module")
def clip_exported(clip_text, clip_files) -> ExportedText:
    session = onnxruntime.InferenceSession(clip_files / TEXT_GRAPH)
    return ExportedText(clip_files, clip_text.digest, session)


def tokenizer_alone(text: ClipText | BertText, folder: Path) -> ExportedText:
    tokenizer_of(text).save(str(folder / TOKENIZER))
    return ExportedText(folder, "", None)


def assert_equal_tokens(text, other: ExportedText, texts: list[str]) -> None:
    for some in (texts, *[[each] for each in texts]):
        for ours, theirs in zip(text.tokenize(some), other.tokenize(some), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs, err_msg=ascii(some))
    for each in texts:
        assert text.exceeds_context(each) == other.exceeds_context(each), ascii(each)


def test_clip_tokens_are_those_of_open_clip(clip_text, tmp_path):
    other = tokenizer_alone(clip_text, tmp_path)
    assert other.context_length == clip_text.context_length == 24
    assert_equal_tokens(clip_text, other, TEXTS)


def test_clip_tokens_of_random_texts(clip_text, tmp_path):
    draw = random.Random(0)
    some = [draw.randrange(0x110000) for _ in range(4000)]
    assigned = [c for c in map(chr, some) if unicodedata.category(c) not in ("Cn", "Co", "Cs")]
    parts = [*assigned, *map(chr, range(32, 592)), *TEXTS]
    texts = ["".join(draw.choices(parts, k=draw.randrange(1, 12))) for _ in range(300)]
    assert_equal_tokens(clip_text, tokenizer_alone(clip_text, tmp_path), texts)


def test_bert_tokens_are_those_of_transformers(bert_text, tmp_path):
    other = tokenizer_alone(bert_text, tmp_path)
    assert other.context_length == bert_text.context_length
    assert_equal_tokens(bert_text, other, [*TEXTS, "[CLS] [MASK] [SEP]", "word " * 600])


def test_a_special_token_uses_no_merge_of_another_word(clip_text):
    """Only the merges at the end, which make it, have mixed letters and signs in this way."""
    from open_clip.tokenizer import _tokenizer as original

    tokenizer = tokenizer_of(clip_text)
    vocabulary = tokenizer.get_vocab()
    new = {word for word, number in vocabulary.items() if number >= original.vocab_size}
    assert new
    assert all(word.startswith("<") and word[1].isalpha() for word in new)
    ids = {number: word for word, number in vocabulary.items() if number < original.vocab_size}
    assert len(ids) == original.vocab_size
    differing = [word for number, word in ids.items() if original.decoder[number] != word]
    assert set(differing) == {"<start_of_text></w>", "<end_of_text></w>"}


@pytest.mark.slow
def test_vectors_and_cache_files_are_shared(clip_text, clip_exported, tmp_path):
    templates = get_templates("vild_14")
    first, second = ["cat", "traffic light", "Baker\u2019s café"], ["zebra", "a long name " * 9]
    eager = TextClassifierBuilder(clip_text, templates=templates, cache_dir=tmp_path)
    without_torch = WordVectors(clip_exported, templates=templates, cache_dir=tmp_path)
    expected = {**dict(zip(first, eager.embed(first), strict=True))}
    found = without_torch(first)
    assert all(np.array_equal(row, expected[word]) for row, word in zip(found, first, strict=True))
    computed = without_torch(second)
    assert np.array_equal(eager.embed(second), computed)  # found where the other one left them
    alone = TextClassifierBuilder(clip_text, templates=templates).embed(second)
    np.testing.assert_allclose(computed, alone, atol=1e-5)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2


@pytest.mark.slow
def test_embeddings_of_any_number_and_length(clip_text, clip_exported):
    for texts in (["a"], TEXTS, ["a cat", ""]):
        expected = clip_text.encode(*clip_text.tokenize(texts))
        actual = clip_exported.encode(*clip_exported.tokenize(texts))
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert clip_exported.embed_dim == clip_text.embed_dim


@pytest.mark.slow
def test_a_bert_is_exported_too(bert_text, tmp_path):
    other = exported(bert_text, tmp_path)
    for texts in (["a"], TEXTS, ["a cat", ""]):
        expected = bert_text.encode(*bert_text.tokenize(texts))
        np.testing.assert_allclose(other.encode(*other.tokenize(texts)), expected, atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("resnet", {"text": {"proj_type": "none", "width": 16}}),
        (
            "resnet",
            {"custom_text": True, "text": {"proj_bias": True, "pool_type": "eos", "eos_id": 49407}},
        ),
    ],
)
def test_every_kind_of_clip_is_exported(make_clip, kind, settings, tmp_path):
    text = ClipText(make_clip(kind, **settings))
    other = exported(text, tmp_path)
    expected = text.encode(*text.tokenize(TEXTS))
    np.testing.assert_allclose(other.encode(*other.tokenize(TEXTS)), expected, atol=1e-5)


@pytest.mark.slow
def test_words_need_neither_torch_nor_detectron2(clip_files):
    code = (
        "import sys\n"
        "sys.modules |= dict.fromkeys(['torch', 'detectron2', 'open_clip', 'timm', 'cv2'])\n"
        "from pathlib import Path\nimport onnxruntime\n"
        "from frozenseg.encoders.text.word_vectors import WordVectors\n"
        "from frozenseg.exporting.words import ExportedText\n"
        "from frozenseg.vocab import Vocabulary, get_templates\n"
        "folder = Path(sys.argv[1])\n"
        "text = ExportedText(folder, '', onnxruntime.InferenceSession(folder / 'text.onnx'))\n"
        "vectors = WordVectors(text, templates=get_templates('vild_14'))\n"
        "print(vectors(Vocabulary.parse('cat, kitten; sky').all_synonyms).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(clip_files)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(3, 64)", done.stderr
