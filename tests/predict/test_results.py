"""The results of several images: order, index, what is computed and how often."""

import numpy as np
import pytest
from PIL import Image

from frozenseg.predict.results import Results


@pytest.fixture
def images(tmp_path):
    for name in "abcd":
        Image.new("RGB", (6, 4), "red").save(tmp_path / f"{name}.png")
    return [str(tmp_path / f"{name}.png") for name in "abcd"]


class Counting:
    """Stands for a segmenter: gives the file's letter, and notes it."""

    def __init__(self):
        self.computed = []

    def __call__(self, image_HW3, source):
        assert image_HW3.shape == (4, 6, 3)
        self.computed.append(source[-5])
        return source[-5]


def test_index_computes_what_is_asked_for(images):
    segment = Counting()
    results = Results(images, segment)
    assert repr(results) == "<Results of 4 image(s)>"
    assert segment.computed == []
    assert (results[2], results[2], results[-1]) == ("c", "c", "d")
    assert segment.computed == ["c", "d"]
    with pytest.raises(IndexError):
        results[4]


def test_the_last_one_is_not_computed_twice(images):
    segment = Counting()
    results = Results(images, segment)
    assert (results[0], next(results), results[0], next(results)) == ("a", "a", "a", "b")
    assert results[np.int64(1)] == "b"
    assert segment.computed == ["a", "b"]
    assert list(results) == ["c", "d"]
    assert list(results) == []
    assert results[3] == "d"
    assert segment.computed == list("abcd")


def test_slices_are_results_of_their_own(images):
    segment = Counting()
    results = Results(images, segment)
    some = results[1:3]
    assert (len(some), segment.computed) == (2, [])
    assert list(some) == ["b", "c"]
    assert list(results) == list("abcd")


def test_images_from_an_iterator_have_no_index(images):
    results = Results(iter(images), Counting())
    with pytest.raises(TypeError, match=r"one at a time: next\(results\).*list\(results\)\[0\]"):
        results[0]
    assert repr(results) == "<Results of unknown number of image(s)>"
    assert next(results) == "a"


def test_a_bad_image_by_its_index_is_an_error(images):
    images[1] = images[1] + ".none"
    results = Results(images, Counting(), skip_bad=True)
    with pytest.raises(FileNotFoundError):
        results[1]
    assert list(results) == ["a", "c", "d"]
    assert repr(results) == "<Results of 4 image(s), 1 left out>"
