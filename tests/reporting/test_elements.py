"""Text becomes text, whatever is in it."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from frozenseg.reporting.elements import element, page

NASTY = "</td><script>alert(1)</script> & \"quoted\" 'too' <b> é ☃ \u2028"


class Reader(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.texts.append(data)


def test_text_and_attributes_come_back_as_they_were():
    read = Reader(page(NASTY, element("td", NASTY, data_value=NASTY), NASTY))
    assert read.tags == ["html", "head", *["meta"] * 4, "title", "style", "body", "td", "script"]
    assert ("td", "data-value", NASTY) in read.attributes
    assert read.texts.count(NASTY) == 3


@pytest.mark.parametrize("content", [None, [], ["a", None, [element("b", "c")], "d"]])
def test_lists_are_put_in_one_by_one(content):
    made = element("p", content, class_="x", id=None)
    assert made.attrib == {"class": "x"}
    assert "".join(made.itertext()) == ("acd" if content else "")
