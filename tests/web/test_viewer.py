"""What the browser gets: exact label maps, a true legend, nothing that a name could break."""

import base64
import dataclasses
import html
import io
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from frozenseg.predict.segmentation import from_label_map
from frozenseg.vocab import Vocabulary
from frozenseg.web.viewer import (
    legend_rows,
    message_html,
    percent,
    percent_score,
    runs,
    status_line,
    view_size,
    viewer_html,
)


def decoded(text):
    """As viewer.js does it."""
    numbers = [int(each) for each in text.split(",")]
    return np.repeat(numbers[::2], numbers[1::2])


@pytest.fixture
def segmentation():
    label_map = np.zeros((600, 1200), dtype=np.int32)
    label_map[:, :300] = 4
    label_map[:60, 300:] = 9
    words = Vocabulary.parse('cat; <b>"dog"</b> & co; sky:stuff')
    found = from_label_map(label_map, {4: 1, 9: 2}, words, "panoptic", {4: 0.756})
    return dataclasses.replace(found, image_HW3=np.full((600, 1200, 3), 90, dtype=np.uint8))


@pytest.mark.slow
@given(arrays.arrays(np.int32, st.tuples(*[st.integers(1, 12)] * 2), elements=st.integers(0, 3)))
def test_runs_give_back_every_pixel(label_map):
    assert np.array_equal(decoded(runs(label_map)), label_map.ravel())


def test_runs_are_few_and_hold_large_ids():
    label_map = np.zeros((100, 100), dtype=np.int32)
    label_map[50:] = 65535
    assert runs(label_map) == "0,5000,65535,5000"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((256, 256), (960, 960)),
        ((1000, 500), (1000, 500)),
        ((4000, 3000), (1280, 960)),
        ((3000, 4000), (960, 1280)),
        ((1, 1), (960, 960)),
        ((1, 40), (1, 40)),
        ((2, 5000), (1, 1280)),
    ],
)
def test_view_size(size, expected):
    assert view_size(*size) == expected


def test_legend_has_the_segments_by_area_in_their_colours(segmentation):
    rows = legend_rows(segmentation)
    assert [row.id for row in rows] == [4, 9]
    assert [row.share for row in rows] == [0.25, 0.075]
    assert [row.score for row in rows] == [0.756, None]
    assert [row.color for row in rows] == [segmentation.vocabulary.colors[i] for i in (1, 2)]
    assert [row.is_thing for row in rows] == [True, False]


def test_the_page_holds_label_map_names_and_pictures(segmentation):
    page = viewer_html(segmentation, "2 segments & more")
    width, height = (
        int(re.search(rf'data-{each}="(\d+)"', page)[1]) for each in ("width", "height")
    )
    assert (width, height) == (1200, 600)
    shown = decoded(re.search(r'data-runs="([\d,]+)"', page)[1]).reshape(height, width)
    assert np.array_equal(shown, segmentation.label_map_HW)
    names = json.loads(html.unescape(re.search(r'data-names="([^"]*)"', page)[1]))
    assert names == {"4": ['<b>"dog"</b> & co', "0.76"], "9": ["sky", "–"]}
    pictures = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(each))).size for each in pictures]
    assert sizes == [(1200, 600), (1200, 600)]
    assert "2 segments &amp; more" in page
    assert "25.0 %" in page
    assert "67.5 %" in page  # of no segment


def test_names_are_text_wherever_they_stand(segmentation):
    page = viewer_html(segmentation, "")
    assert "<b>" not in page
    assert "&lt;b&gt;&quot;dog&quot;&lt;/b&gt; &amp; co" in page


def test_no_segments_is_said(segmentation):
    page = viewer_html(segmentation.without("sky", '<b>"dog"</b> & co'), "no segments")
    assert "No segments: try other words" in page
    assert "<button" not in page


def test_sentences():
    assert status_line(6, 0.42, 3) == "6 segments in 0.4 s, 3 new words"
    assert status_line(1, 1.0, 1) == "1 segment in 1.0 s, 1 new word"
    assert status_line(0, 0.0, 0) == "no segments in 0.0 s"
    assert [percent(each) for each in (0, 0.0001, 0.0006, 0.5, 1)] == [
        "0.0 %", "<0.1 %", "0.1 %", "50.0 %", "100.0 %",
    ]  # fmt: skip
    assert percent_score(0.999) == "1.00"
    assert message_html("") == ""
    assert message_html("a < b") == '<p class="fs-message fs-error" role="alert">a &lt; b</p>'
