import pytest

from frozenseg.visualization import text


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
