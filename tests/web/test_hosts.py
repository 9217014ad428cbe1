"""Under which names the page answers, and to pages of which servers."""

import pytest

from frozenseg.web.hosts import Hosts

PUBLIC = ["Seg.example.org", "*.lab.example"]


@pytest.mark.parametrize(
    ("host", "asked", "served"),
    [
        ("127.0.0.1", "127.0.0.1:7860", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "[::1]:7860", True),
        ("127.0.0.1", "10.0.0.1:7860", False),
        ("127.0.0.1", "evil.example", False),
        ("0.0.0.0", "10.0.0.1:7860", True),
        ("0.0.0.0", "[fe80::1]", True),
        ("0.0.0.0", "10.0.0.1.evil.example", False),
        ("0.0.0.0", "evil.example", False),
        ("machine", "machine:7860", True),
        ("127.0.0.1", "seg.example.org", True),
        ("127.0.0.1", "a.lab.example:443", True),
        ("127.0.0.1", "lab.example", False),
        ("127.0.0.1", "evillab.example", False),
        ("127.0.0.1", "", False),
        ("127.0.0.1", "a@127.0.0.1", False),
        ("127.0.0.1", "[127.0.0.1", False),
    ],
)
def test_names(host, asked, served):
    assert Hosts(host, PUBLIC).serves(asked) == served


@pytest.mark.parametrize(
    ("origin", "host", "trusted"),
    [
        (None, "127.0.0.1:7860", True),
        ("http://127.0.0.1:7860", "127.0.0.1:7860", True),
        ("http://127.0.0.1:7861", "127.0.0.1:7860", False),
        ("http://localhost:7860", "127.0.0.1:7860", False),
        ("null", "127.0.0.1:7860", False),
        ("", "127.0.0.1:7860", False),
        ("https://seg.example.org", "127.0.0.1:7860", True),
        ("https://seg.example.org.evil.example", "127.0.0.1:7860", False),
    ],
)
def test_origins(origin, host, trusted):
    assert Hosts("127.0.0.1", PUBLIC).trusts(origin, host) == trusted
