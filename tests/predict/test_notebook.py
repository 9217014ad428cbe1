"""What a segmentation shows in a notebook and in a window."""

import dataclasses
import io
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageShow

from frozenseg.predict import notebook
from frozenseg.predict.segmentation import from_label_map, from_masks
from frozenseg.vocab import Vocabulary

WORDS = Vocabulary.parse("cat <script>x</script>; sky & sea:stuff")


def example(size=(20, 30)):
    label_map = np.ones(size, dtype=np.int32)
    label_map[: size[0] // 4] = 2
    found = from_label_map(label_map, {1: 0, 2: 1}, WORDS, "panoptic", {1: 0.755})
    image = np.full((*size, 3), 90, dtype=np.uint8)
    return dataclasses.replace(found, image_HW3=image, source="<b>.jpg")


def opened(png):
    return Image.open(io.BytesIO(png))


def test_the_picture_is_the_overlay():
    assert np.array_equal(opened(example()._repr_png_()), example().overlay())


def test_large_ones_are_reduced():
    assert opened(example((600, 3000))._repr_png_()).size == (1024, 205)


def test_without_an_image_it_is_the_label_map_in_its_colours():
    picture = opened(dataclasses.replace(example(), image_HW3=None)._repr_png_())
    assert picture.convert("RGB").getpixel((0, 19)) == tuple(WORDS.colors[0])


def test_html_escapes_every_text_and_has_the_largest_first():
    page = example()._repr_html_()
    assert "<script" not in page
    assert "<b>" not in page
    assert "cat &lt;script&gt;x&lt;/script&gt; 0.76" in page or "0.75" in page
    assert "sky &amp; sea" in page
    assert page.index("cat") < page.index("sky")
    assert [float(share) for share in re.findall(r"([\d.]+)&thinsp;%", page)] == [75.0, 25.0]


def test_html_of_nothing_and_of_many():
    assert "no segments" in from_masks([], (5, 7), WORDS)._repr_html_()
    label_map = np.arange(1, 101, dtype=np.int32).reshape(10, 10)
    many = from_label_map(label_map, dict.fromkeys(range(1, 101), 0), WORDS, "panoptic")
    assert "and 60 more" in many._repr_html_()


def test_show(monkeypatch):
    shown = []
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    monkeypatch.setattr(ImageShow, "show", lambda image, title: shown.append(image.size) or True)
    example().show()
    assert shown == [(30, 20)]
    monkeypatch.setattr(ImageShow, "show", lambda *_: False)
    with pytest.raises(OSError, match="save it"):
        example().show()
    shell = SimpleNamespace(has_trait=lambda name: name == "kernel")
    display = SimpleNamespace(display=shown.append)
    ipython = SimpleNamespace(get_ipython=lambda: shell, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    found = example()
    notebook.show(found)
    assert shown[-1] is found
