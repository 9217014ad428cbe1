import numpy as np
import pytest
from PIL import Image, ImageDraw

from frozenseg.visualization import fonts, text


@pytest.mark.parametrize(
    ("background", "ink"),
    [
        ((255, 255, 255), text.BLACK),
        ((0, 0, 0), text.WHITE),
        ((255, 255, 0), text.BLACK),
        ((0, 0, 160), text.WHITE),
    ],
)
def test_text_color_by_brightness(background, ink):
    assert text.text_color(background) == ink


def test_contrast_is_at_least_4_5_on_every_color():
    for red in range(0, 256, 15):
        for green in range(0, 256, 15):
            for blue in range(0, 256, 15):
                level = text.luminance((red, green, blue))
                ink = text.luminance(text.text_color((red, green, blue)))
                high, low = max(level, ink), min(level, ink)
                assert (high + 0.05) / (low + 0.05) >= 4.5


def test_luminance_of_primaries():
    # WCAG 2.1 gives these weights.
    assert text.luminance((255, 0, 0)) == pytest.approx(0.2126)
    assert text.luminance((255, 255, 255)) == pytest.approx(1.0)


def test_text_size_grows_with_the_image_within_bounds():
    assert text.text_size(1, 1) == text.SMALLEST_TEXT
    assert text.text_size(640, 640) < text.text_size(1280, 1280)
    assert text.text_size(10**6, 10**6) == text.LARGEST_TEXT


def test_shorten_makes_one_line():
    assert text.shorten("a\nb\t c", 20) == "a b c"
    assert text.shorten("x" * 30, 10) == "x" * 9 + "…"


@pytest.mark.parametrize("name", ["café", "Дерево", "人", "🐱", "عربي", "x"])
def test_every_script_can_be_measured(name):
    width, height = text.measure(name, 16)
    assert width > 0
    assert height == text.measure("x", 16)[1]


def ink(line, size=32):
    """Columns and rows that the ink of a line covers, drawn at (10, 20)."""
    picture = Image.new("RGB", (400, 100), text.WHITE)
    text.draw_line(ImageDraw.Draw(picture), (10, 20), line, size, text.BLACK)
    dark = np.asarray(picture)[..., 0] < 128
    return np.flatnonzero(dark.any(0)), np.flatnonzero(dark.any(1))


@pytest.mark.parametrize("line", ["cat", "\u2905 cat \u2905", "Áy"])
def test_ink_stays_in_the_box_that_is_measured(line):
    columns, rows = ink(line)
    width, height = text.measure(line, 32)
    assert columns.min() >= 10
    assert columns.max() <= 10 + width + 1
    assert rows.min() >= 20
    assert rows.max() <= 20 + height


def test_names_that_no_font_has_stay_apart(monkeypatch):
    monkeypatch.setattr("frozenseg.visualization.fonts.installed_fonts", lambda: ())
    fonts.font_with.cache_clear()
    assert text.shorten("人", 20) == "U+4EBA"
    assert text.shorten("犬", 20) == "U+72AC"
    fonts.font_with.cache_clear()
