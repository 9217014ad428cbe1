"""Colours: of a name, distinct within a vocabulary, read from files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenseg.vocab.colors import assign_colors, parse_color

names = st.lists(st.text(st.characters(codec="utf-8"), min_size=1), unique_by=str.casefold)


def color_of(name):
    """The colour a name has on its own."""
    return assign_colors([name], [None])[0]


@pytest.mark.slow
@given(names)
def test_generated_colors_are_distinct_and_valid(texts: list[str]) -> None:
    colors = assign_colors(texts, [None] * len(texts))
    assert len(set(colors)) == len(texts)
    assert all(0 <= channel <= 255 for color in colors for channel in color)


def test_two_thousand_classes_have_distinct_colors() -> None:
    count = 2000
    colors = assign_colors([f"class {index}" for index in range(count)], [None] * count)
    assert len(set(colors)) == count


def test_color_belongs_to_the_name_not_to_its_place() -> None:
    assert assign_colors(["zebra", "cat"], [None] * 2)[0] == color_of("zebra")
    assert color_of("Zebra") == color_of("zebra") != color_of("cat")
    assert color_of("cat") == (88, 225, 198)  # recorded: pictures of two versions agree


def test_near_colors_are_moved_apart() -> None:
    own = color_of("cat")
    near = (own[0] ^ 1, own[1], own[2])
    moved = assign_colors(["dog", "cat"], [near, None])
    assert moved[0] == near
    assert max(abs(a - b) for a, b in zip(moved[1], near, strict=True)) >= 20


def test_fixed_colors_are_kept_even_if_generated_ones_come_first() -> None:
    own = color_of("cat")
    assert assign_colors(["cat", "dog"], [None, own])[1] == own
    assert assign_colors(["cat", "dog"], [None, own])[0] != own
    assert assign_colors(["a", "b"], [(1, 2, 3), (1, 2, 3)]) == [(1, 2, 3)] * 2


@pytest.mark.parametrize(("value", "color"), [("#ff8000", (255, 128, 0)), ([1, 2, 3], (1, 2, 3))])
def test_parse_color(value: object, color: tuple[int, int, int]) -> None:
    assert parse_color(value, "here") == color


@pytest.mark.parametrize("value", ["red", "#ff80", [1, 2], [1, 2, 256], [1, 2, -1], [1.0, 2, 3], 7])
def test_bad_color_names_the_place(value: object) -> None:
    with pytest.raises(ValueError, match="here: colour"):
        parse_color(value, "here")
