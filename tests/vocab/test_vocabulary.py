"""Vocabulary: construction, identity, round trips, seen classes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.vocab.vocabulary import Vocabulary, VocabularyClass, seen_classes

# Words that survive as they are: letters of several scripts, digits, inner spaces and hyphens.
words = st.from_regex(r"\A[a-z0-9é猫][a-z0-9é猫 -]{0,12}\Z").map(lambda w: " ".join(w.split()))
flags = st.sampled_from(["", ":thing", ":stuff"])


@st.composite
def class_lists(draw: st.DrawFn) -> list[tuple[list[str], str]]:
    """Non-empty lists of (names, flag) in which no word occurs twice."""
    pool = draw(st.lists(words, min_size=1, max_size=12, unique=True))
    classes: list[tuple[list[str], str]] = [([pool[0]], draw(flags))]
    for word in pool[1:]:
        if draw(st.booleans()):
            classes.append(([word], draw(flags)))
        else:
            classes[-1][0].append(word)
    return classes


@pytest.mark.slow
@given(class_lists(), st.sampled_from(["; ", ";", " ;\n", "\n"]), st.sampled_from([",", " , "]))
def test_parse_reads_what_was_written(
    classes: list[tuple[list[str], str]], separator: str, comma: str
) -> None:
    text = separator.join(comma.join(names) + flag for names, flag in classes)
    vocabulary = Vocabulary.parse(text)
    assert vocabulary.synonyms == tuple(tuple(names) for names, _ in classes)
    assert vocabulary.thing_mask == [flag != ":stuff" for _, flag in classes]
    assert vocabulary.names == tuple(names[0] for names, _ in classes)
    assert vocabulary.all_synonyms == tuple(word for names, _ in classes for word in names)
    assert vocabulary == Vocabulary.from_names([comma.join(n) + flag for n, flag in classes])


@pytest.mark.slow
@settings(max_examples=30)
@given(class_lists())
def test_json_and_file_round_trips(
    tmp_path_factory: pytest.TempPathFactory, classes: list[tuple[list[str], str]]
) -> None:
    vocabulary = Vocabulary.from_names([",".join(names) + flag for names, flag in classes])
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    path = tmp_path_factory.mktemp("words") / "words.json"
    vocabulary.save(path)
    loaded = Vocabulary.from_file(path)
    assert loaded.classes == vocabulary.classes
    assert (loaded.digest, hash(loaded)) == (vocabulary.digest, hash(vocabulary))
    assert [item.name for item in path.parent.iterdir()] == ["words.json"]  # no temporary file
    assert pickle.loads(pickle.dumps(vocabulary)) == vocabulary


@pytest.mark.slow
@given(st.lists(words, min_size=2, max_size=8, unique=True), st.randoms())
def test_permutation_changes_the_digest_not_the_set(names: list[str], random: object) -> None:
    other = list(names)
    random.shuffle(other)  # type: ignore[attr-defined]
    first, second = Vocabulary.from_names(names), Vocabulary.from_names(other)
    assert set(first.names) == set(second.names)
    assert (first == second) == (first.digest == second.digest) == (names == other)


def test_digest_covers_every_field() -> None:
    base = VocabularyClass("cat", ("cat", "kitten"), None, (1, 2, 3), 4, "Cat")
    variants = [
        base,
        VocabularyClass("cat", ("cat",), None, (1, 2, 3), 4, "Cat"),
        VocabularyClass("cat", ("cat", "kitten"), True, (1, 2, 3), 4, "Cat"),
        VocabularyClass("cat", ("cat", "kitten"), False, (1, 2, 3), 4, "Cat"),
        VocabularyClass("cat", ("cat", "kitten"), None, (1, 2, 4), 4, "Cat"),
        VocabularyClass("cat", ("cat", "kitten"), None, (1, 2, 3), None, "Cat"),
        VocabularyClass("cat", ("cat", "kitten"), None, (1, 2, 3), 4, "feline"),
    ]
    vocabularies = [Vocabulary((item,)) for item in variants]
    assert len({item.digest for item in vocabularies}) == len(variants) == len(set(vocabularies))
    assert vocabularies[0] != "cat"


def test_saved_ids_need_not_ascend_and_may_be_missing(tmp_path: Path) -> None:
    rows = (
        VocabularyClass("b", ("b",), True, (1, 2, 3), 9, "B"),
        VocabularyClass("a", ("a",), False, (4, 5, 6), 2, "A"),
        VocabularyClass("c:d", ("c:d",), None, (7, 8, 9)),
    )
    Vocabulary(rows).save(tmp_path / "words.json")
    assert Vocabulary.from_file(tmp_path / "words.json").classes == rows


def test_published_duplicates_round_trip(tmp_path: Path) -> None:
    vocabulary = Vocabulary.from_names(["bar, pub", "bar", "bar,,x"], allow_shared=True)
    assert vocabulary.synonyms == (("bar", "pub"), ("bar",), ("bar", "x"))
    assert len(set(vocabulary.colors)) == 3
    assert Vocabulary.from_json(vocabulary.to_json()) == vocabulary
    vocabulary.save(tmp_path / "words.json")
    assert Vocabulary.from_file(tmp_path / "words.json", allow_shared=True) == vocabulary
    with pytest.raises(ValueError, match="class 'bar' is given twice"):
        Vocabulary.from_file(tmp_path / "words.json")


@pytest.mark.parametrize("text", ["", "  ", ";", "\n"])
def test_empty_vocabulary_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="empty vocabulary"):
        Vocabulary.parse(text)
    with pytest.raises(ValueError, match="empty vocabulary"):
        Vocabulary.from_names([])
    with pytest.raises(ValueError, match="empty vocabulary"):
        Vocabulary.from_names({})
    with pytest.raises(ValueError, match="empty vocabulary"):
        Vocabulary(())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat; dog, Cat", "'Cat' belongs to both 'cat'"),
        ("cat; cat", "class 'cat' is given twice"),
        ("cat;;dog", "class 2: empty class name"),
        ("cat, ; dog", "class 1: empty name between commas"),
        ("cat; ...", "class 2: class name '...' has no letter or digit"),
        ("sky:staff", "class 1: ':staff' in 'sky:staff' is neither"),
    ],
)
def test_parse_errors_are_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        Vocabulary.parse(text)
    assert "\n" not in str(error.value)


def test_save_refuses_other_formats_and_missing_folders(tmp_path: Path) -> None:
    vocabulary = Vocabulary.parse("cat")
    with pytest.raises(ValueError, match=r"words.txt: a vocabulary is saved as JSON"):
        vocabulary.save(tmp_path / "words.txt")
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        vocabulary.save(tmp_path / "none" / "words.json")


def test_class_checks_its_synonyms_and_fills_the_official_name() -> None:
    assert VocabularyClass("cat", ("cat",), None, (0, 0, 0)).official == "cat"
    with pytest.raises(ValueError, match="the first synonym of 'cat' must be the name itself"):
        VocabularyClass("cat", ("dog", "cat"), None, (0, 0, 0))
    with pytest.raises(ValueError, match="the first synonym of 'cat'"):
        VocabularyClass("cat", (), None, (0, 0, 0))


def test_vocabulary_is_immutable() -> None:
    vocabulary = Vocabulary.parse("cat; dog")
    with pytest.raises(AttributeError):
        vocabulary.classes = ()  # type: ignore[misc]
    vocabulary.thing_mask[0] = False
    vocabulary.colors.clear()
    assert vocabulary.thing_mask == [True, True]
    assert len(vocabulary.colors) == 2


def test_lvis_annotations(tmp_path: Path) -> None:
    categories = [
        {"id": 2, "name": "bow_(weapon)", "synonyms": ["bow_(weapon)"]},
        {"id": 1, "name": "bow_(decorative_ribbons)", "synonyms": ["bow_(decorative_ribbons)"]},
        {"id": 5, "name": "ribbon", "synonyms": ["ribbon", "bow_(weapon)"]},
    ]
    path = tmp_path / "lvis_v1_val.json"
    path.write_text(json.dumps({"annotations": [], "categories": categories}))
    vocabulary = Vocabulary.from_lvis_annotations(path)
    assert vocabulary.names == ("bow (decorative ribbons)", "bow (weapon)", "ribbon")
    assert vocabulary.dataset_ids == [1, 2, 5]
    assert vocabulary.classes[1].official == "bow_(weapon)"


def test_pascal_context_459_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{index}: label {index}\n" for index in range(1, 460)))
    vocabulary = Vocabulary.from_file(path, allow_shared=True)
    assert vocabulary.names == tuple(f"label {index}" for index in range(1, 460))
    assert vocabulary.dataset_ids == list(range(1, 460))


def test_seen_classes() -> None:
    train = Vocabulary.from_names(["person, man", "couch, sofa"])
    test = Vocabulary.from_names(["sofa", "tree", "man, human", "Person"])
    assert seen_classes(test, train) == [True, False, True, False]  # case counts, as released
    assert seen_classes(train, train) == [True, True]


@pytest.mark.slow
@given(class_lists(), class_lists())
def test_seen_is_the_intersection_of_words(
    test: list[tuple[list[str], str]], train: list[tuple[list[str], str]]
) -> None:
    known = {word for names, _ in train for word in names}
    seen = seen_classes(
        Vocabulary.from_names([names for names, _ in test]),
        Vocabulary.from_names([names for names, _ in train]),
    )
    assert seen == [any(word in known for word in names) for names, _ in test]


@pytest.mark.golden
def test_golden_vocabulary(shared_dir: Path) -> None:
    path = shared_dir / "golden" / "fcclip_tiny_convnext" / "vocab.json"
    golden = json.loads(path.read_text())
    things = {index: index for index in golden["test_thing_contiguous_ids"]}
    names = golden["test_stuff_classes"]
    test = Vocabulary.from_metadata(
        {
            "stuff_classes": names,
            "thing_classes": [names[index] for index in things],
            "thing_dataset_id_to_contiguous_id": things,
        }
    )
    train = Vocabulary.from_names(golden["train_stuff_classes"], allow_shared=True)
    for vocabulary, raw in ((test, names), (train, golden["train_stuff_classes"])):
        expected = [tuple(dict.fromkeys(text.split(","))) for text in raw]  # repetitions dropped
        assert list(vocabulary.synonyms) == expected
    assert [i for i, is_thing in enumerate(test.thing_mask) if is_thing] == list(things)
    assert seen_classes(test, train) == [
        bool(value) for value in golden["category_overlapping_mask"]
    ]
