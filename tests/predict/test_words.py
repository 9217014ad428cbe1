import pytest

from frozenseg import errors
from frozenseg.predict.words import read_words, with_background
from frozenseg.vocab import Vocabulary

EXPECTED = Vocabulary.parse("cat, kitten; dog; sky, heaven:stuff")


@pytest.mark.parametrize(
    "words",
    [
        EXPECTED,
        "cat, kitten; dog; sky, heaven:stuff",
        ["cat, kitten", "dog", "sky, heaven:stuff"],
        (["cat", "kitten"], "dog", ["sky:stuff", "heaven"]),
        {"cat": ["kitten"], "dog": None, "sky:stuff": "heaven"},
        {"cat": "kitten", "dog": {}, "sky": {"synonyms": ["heaven"], "stuff": True}},
        {"cat": "kitten", "dog": (), "sky": {"synonyms": "heaven", "thing": False}},
        iter(["cat, kitten", "dog", "sky, heaven:stuff"]),
    ],
)
def test_every_form_of_the_same_words(words):
    assert read_words(words) == EXPECTED


def test_files_tables_and_benchmarks(tmp_path):
    (tmp_path / "words.txt").write_text("cat, kitten\ndog\nsky, heaven:stuff\n")
    EXPECTED.save(tmp_path / "words.json")
    for name in ("words.txt", "words.json"):
        assert read_words(tmp_path / name) == EXPECTED
        assert read_words(str(tmp_path / name)) == EXPECTED
    table = Vocabulary.from_table("ade20k_150")
    assert read_words("ade20k_150") == read_words("openvocab_ade20k_panoptic_val") == table
    assert len(read_words("miniature_val_panoptic")) == 70


@pytest.mark.parametrize("words", ["", " ; ", [], {}, ()])
def test_no_words(words):
    with pytest.raises(ValueError, match="empty"):
        read_words(words)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (None, TypeError, "NoneType"),
        (7, TypeError, "int"),
        (b"cat", TypeError, "bytes"),
        ({"cat", "dog"}, TypeError, "no order"),
        (["cat", 7], ValueError, "7"),
        (["cat", "cat"], ValueError, "given twice"),
        ({7: "cat"}, TypeError, "7"),
        ({"sky": {"stuf": True}}, ValueError, "unknown key 'stuf'"),
        ({"sky": {"stuff": "yes"}}, ValueError, "true or false"),
        ({"sky": {"stuff": True, "thing": True}}, ValueError, "contradict"),
        ("sky:stuf", ValueError, "neither ':thing' nor ':stuff'"),
        ("ade20k_15", ValueError, "did you mean 'ade20k_150'"),
        ("openvocab_ade20k_panoptic_va", ValueError, "openvocab_ade20k_panoptic_val"),
        ("nowhere.txt", FileNotFoundError, "nowhere"),
    ],
)
def test_wrong_words_are_named(words, error, message):
    with pytest.raises(error, match=message):
        read_words(words)


def test_background():
    words = with_background(EXPECTED, "background, other")
    assert words.classes[:-1] == EXPECTED.classes
    assert words.synonyms[-1] == ("background", "other")
    assert words.thing_mask[-1] is False
    with pytest.raises(ValueError, match="'Kitten' is a word of the vocabulary too"):
        with_background(EXPECTED, "other, Kitten")


def test_commas_alone_are_one_class_which_is_said_once(caplog, monkeypatch):
    monkeypatch.setattr(errors, "_warned", set())
    for _ in range(2):
        assert len(read_words("purple heart, yellow cross, sand")) == 1
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "one class with 3 names: purple heart, yellow cross, sand. Commas separate"
    )
    for words in ("cat", "cat, kitten; dog", ["cat, kitten"]):
        read_words(words)
    assert len(caplog.records) == 1


def test_dicts_of_numbers_and_names_are_explained():
    with pytest.raises(TypeError, match=r"'cat': a dict gives every name its synonyms, got 0"):
        read_words({"cat": 0, "dog": 1})
    with pytest.raises(TypeError, match=r"must be text, got 0; give the names alone"):
        read_words({0: "cat", 1: "dog"})
