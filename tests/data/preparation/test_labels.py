"""Tables from published values to classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from frozenseg.data.preparation.cityscapes import label_table
from frozenseg.data.preparation.coco import stuff_table
from frozenseg.data.preparation.labels import IGNORED_16, LabelTable

PATH = Path("a.png")


def test_values_become_classes_void_or_an_error():
    table = LabelTable.of({2: 0, 5: 1}, [0, 255], "2, 5, and 0 or 255 unlabelled")
    mask = table(PATH, np.array([[0, 2], [5, 255]]))
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[255, 0], [1, 255]]
    for value in (1, 6, 254, 256, 70000):
        with pytest.raises(ValueError, match=rf"a\.png: label {value} at x=1, y=0 is out of"):
            table(PATH, np.array([[0, value]]))
    assert table.has_class(PATH, np.array([[0, 2]]))
    assert not table.has_class(PATH, np.array([[0, 255]]))


def test_many_classes_need_16_bits():
    classes = {value: value for value in range(300)}
    with pytest.raises(ValueError, match="300 classes do not fit below 255"):
        LabelTable.of(classes, [], "")
    mask = LabelTable.of(classes, [300], "", ignored=IGNORED_16)(PATH, np.array([[299, 300]]))
    assert mask.dtype == np.uint16
    assert mask.tolist() == [[299, 65535]]


def test_small_integers_do_not_wrap_around():
    table = LabelTable.of({0: 0}, [255], "")
    with pytest.raises(ValueError, match="label 254"):
        table(PATH, np.array([[254]], dtype=np.uint8))
    many = LabelTable.of({value: value for value in range(300)}, [], "", ignored=IGNORED_16)
    assert many(PATH, np.array([[255, 7]], dtype=np.uint8)).tolist() == [[255, 7]]


def test_the_tables_of_the_benchmarks_reach_every_class():
    for table, classes in ((label_table(), 19), (stuff_table(), 171)):
        found = table.classes_V[table.classes_V >= 0]
        assert sorted(found.tolist()) == list(range(classes))
    # Official train ids: road 7 is 0, person 24 is 11, bicycle 33 is 18; 29, 30 and 0 are void.
    assert label_table().classes_V[[7, 24, 33, 29, 30, 0]].tolist() == [0, 11, 18, -1, -1, -1]
