from pathlib import Path

import pytest

from frozenseg.visualization import fonts

SERIF = str(Path(fonts.default_font()).with_name("DejaVuSerif.ttf"))  # ships with matplotlib
ARROW = "\u2905"  # DejaVu Serif has it, DejaVu Sans has not


@pytest.fixture
def installed(monkeypatch):
    """Chooses the fonts of the machine."""

    def choose(*paths):
        monkeypatch.setattr(fonts, "installed_fonts", lambda: tuple(map(str, paths)))
        fonts.font_with.cache_clear()

    yield choose
    fonts.font_with.cache_clear()


def test_what_the_shipped_font_has_needs_no_other(installed):
    installed("does_not_exist.ttf")
    assert {fonts.font_with(letter) for letter in "aéДשع√"} == {fonts.default_font()}


def test_a_character_is_drawn_by_the_first_font_that_has_it(installed):
    installed(SERIF)
    assert fonts.font_with(ARROW) == SERIF
    assert fonts.runs(f"go {ARROW} on") == [
        ("go ", fonts.default_font()),
        (f"{ARROW} ", SERIF),
        ("on", fonts.default_font()),
    ]
    assert fonts.drawable(f"go {ARROW}") == f"go {ARROW}"


def test_fonts_that_cannot_be_read_are_passed_over(installed, tmp_path):
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"not a font")
    installed(broken, tmp_path / "none.ttf", SERIF)
    assert fonts.font_with(ARROW) == SERIF


def test_what_no_font_has_is_written_out(installed):
    installed()
    assert fonts.font_with("人") is None
    assert fonts.drawable("人犬 pet") == "U+4EBA U+72AC pet"
    assert fonts.drawable("\U0001f9a9 bird") == ":flamingo: bird"
    assert fonts.drawable("hand\U0001f3fd") == "hand"  # a skin tone has no shape of its own
    assert fonts.drawable("a\u0301") == "a\u0301"


def test_combining_marks_stay_with_their_letter(installed):
    installed(SERIF)
    assert fonts.runs("e\u0301") == [("e\u0301", fonts.default_font())]
    assert "".join(part for part, _ in fonts.runs(f"x{ARROW}\u0301y")) == f"x{ARROW}\u0301y"


def test_upright_sans_serif_fonts_are_preferred(monkeypatch):
    names = ["/f/NotoSerif-Regular.ttf", "/f/NotoSans-Bold.ttf", "/f/NotoSansCJK-Regular.ttc",
             "/f/LastResort.otf", "/f/Any-Regular.ttf"]  # fmt: skip
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: names)
    fonts.installed_fonts.cache_clear()
    found = fonts.installed_fonts()
    fonts.installed_fonts.cache_clear()
    assert found[0] == "/f/NotoSansCJK-Regular.ttc"
    assert "/f/LastResort.otf" not in found
    assert found.index("/f/Any-Regular.ttf") < found.index("/f/NotoSans-Bold.ttf")
