"""The models of the page: loaded once, few at a time."""

from types import SimpleNamespace

import pytest

import frozenseg
from frozenseg.vocab import Vocabulary
from frozenseg.web.models import LoadedModel, ModelShelf, available_models, usual_thresholds


@pytest.fixture
def loads():
    return []


@pytest.fixture
def shelf(loads):
    def load(name):
        loads.append(name)
        return SimpleNamespace(name=name)

    return ModelShelf(["a", "b", "c"], load, most=2)


def test_a_model_is_loaded_once_and_the_longest_unused_makes_room(shelf, loads):
    first = shelf.get("a")
    shelf.get("b")
    assert shelf.get("a") is first
    assert loads == ["a", "b"]
    shelf.get("c")  # b makes room
    assert shelf.loaded == ("a", "c")
    assert shelf.get("a") is first
    shelf.get("b")
    assert loads == ["a", "b", "c", "b"]


def test_there_is_room_before_a_model_is_loaded():
    at_load = []
    shelf = ModelShelf(["a", "b"], lambda name: at_load.append(shelf.loaded), most=1)
    shelf.get("a")
    shelf.get("b")
    assert at_load == [(), ()]


def test_a_model_that_fails_is_tried_again(loads):
    def load(name):
        loads.append(name)
        raise FileNotFoundError("no weights")

    shelf = ModelShelf(["a"], load)
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            shelf.get("a")
    assert loads == ["a", "a"]


def test_only_names_of_the_shelf_are_loaded(shelf, loads):
    with pytest.raises(ValueError, match=r"no model '\.\./x'.*a, b, c"):
        shelf.get("../x")
    assert loads == []
    with pytest.raises(ValueError, match="at least 1"):
        ModelShelf([], lambda name: None)
    with pytest.raises(ValueError, match="at least 1"):
        ModelShelf(["a"], lambda name: None, most=0)


def test_new_words_are_those_that_no_request_had():
    model = LoadedModel(SimpleNamespace())
    words = Vocabulary.parse("cat, kitten; dog")
    assert model.new_words(words) == 3
    model.meet(words)
    assert model.new_words(words) == 0
    assert model.new_words(Vocabulary.parse("dog; kitten; sky:stuff")) == 1


def test_models_without_weights_are_not_offered(tmp_path, monkeypatch):
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path))
    packaged = ["miniature-fcclip", "miniature-frozenseg", "miniature-fusioner"]
    assert available_models() == packaged
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "fcclip_cocopan_r50.pth").touch()
    assert available_models() == [*packaged, "fcclip-r50"]
    assert set(available_models()) <= set(frozenseg.models())


def test_usual_thresholds_are_those_of_the_model():
    settings = {"panoptic": SimpleNamespace(object_mask_threshold=0.3)}
    model = SimpleNamespace(predictor=SimpleNamespace(task_settings=settings), task="panoptic")
    assert usual_thresholds(model) == {"panoptic": 0.3, "instance": 0.5}


def test_a_model_of_one_task_has_no_threshold():
    model = SimpleNamespace(predictor=SimpleNamespace(task_settings=None), task="semantic")
    assert usual_thresholds(model) == {}


def test_words_that_nobody_uses_are_forgotten(monkeypatch):
    monkeypatch.setattr("frozenseg.encoders.text.word_vectors.MOST_WORDS", 3)
    model = LoadedModel(SimpleNamespace())
    for words in ("cat; dog", "cow", "cat", "hen"):
        model.meet(Vocabulary.parse(words))
    assert list(model.met) == ["cow", "cat", "hen"]
