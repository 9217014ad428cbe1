"""Wrong files and words, made from right ones, as hypothesis' strategies."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

NUMBERS = (0, -1, 1, 2, 255, 2**31, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308, 1e-320)
NUMBERS += (math.nan, math.inf, -math.inf)
TEXTS = (
    "",
    " ",
    "x",
    "1",
    "nan",
    "../..",
    "/",
    "a\0b",
    "é" * 300,
    "[0]",
    "None",
    ";",
    "\n",
    "\ud800",
)
ODD = (None, True, False, [], {}, [[]], [None], {"": None}, {"id": 1}, [0, 0], *NUMBERS, *TEXTS)

CHANGES = ("odd", "odd", "retype", "delete", "repeat", "nest", "scale", "near", "swap")


def deep(levels: int = 100_000) -> bytes:
    """JSON that is nested deeper than any parser's stack."""
    return b"[" * levels + b"]" * levels


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key or index) of every value below the root, which may be replaced in place."""
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(pairs):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from places(value)


@st.composite
def mutated(draw: st.DrawFn, valid: Any) -> Any:
    """A copy of the tree with one to three values replaced, retyped, repeated or left out."""
    holder = [copy.deepcopy(valid)]
    for _ in range(draw(st.sampled_from((1, 1, 1, 1, 2, 3)))):
        all_places = list(places(holder))
        node, key = draw(st.sampled_from(all_places))
        change = draw(st.sampled_from(CHANGES))
        value = node[key]
        if change == "delete" and node is not holder:
            del node[key]
        elif change == "repeat" and isinstance(value, list) and value:
            value.append(copy.deepcopy(draw(st.sampled_from(value))))
        elif change == "nest":
            node[key] = draw(st.sampled_from(([value], {"x": value})))
        elif change == "retype" and isinstance(value, (int, float, str)):
            node[key] = str(value) if isinstance(value, (int, float)) else len(value)
        elif change == "scale" and type(value) in (int, float):
            node[key] = value * draw(st.sampled_from((-1, 0, 3, 0.5, 10**9)))
        elif change == "near" and type(value) in (int, float):
            node[key] = value + draw(st.sampled_from((-1, 1, 0.5)))
        elif change == "swap":
            alike = [n[k] for n, k in all_places if type(n[k]) is type(value)]
            node[key] = copy.deepcopy(draw(st.sampled_from(alike)))
        else:
            node[key] = copy.deepcopy(draw(st.sampled_from(ODD)))
    return holder[0]


def json_bytes(tree: Any) -> bytes:
    """A tree as Python writes it (with NaN), lone surrogates and all."""
    return json.dumps(tree).encode()


def yaml_bytes(tree: Any) -> bytes:
    """A tree as YAML."""
    return yaml.safe_dump(tree, allow_unicode=False).encode()


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """A file cut, with bytes changed or put in, of another encoding, or something else."""
    change = draw(st.sampled_from(("cut", "cut", "bytes", "bytes", "insert", "whole")))
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    if change == "cut":
        return data[:place]
    if change == "bytes":
        new = draw(st.binary(min_size=1, max_size=8))
        return data[:place] + new + data[place + len(new) :]
    if change == "insert":
        new = draw(
            st.sampled_from((b"\0", b"\xff\xfe", b"\x80", b"}", b"]", b"\n\n", b"NaN", b"1e999"))
        )
        return data[:place] + new + data[place:]
    wholes = (b"", b" ", b"\0" * 64, b"null", b"[]", b"{}", b"0", b'"x"', b"NaN", deep())
    utf_16 = data.decode("latin-1").encode("utf-16")
    return draw(st.sampled_from((*wholes, utf_16, b"\xef\xbb\xbf" + data, data + data)))


def files_of(valid: Any, write: Any = json_bytes) -> st.SearchStrategy[bytes]:
    """Files that are nearly `valid`: of a changed structure, or damaged as files."""
    return st.one_of(mutated(valid).map(write), mutated(valid).map(write), damaged(write(valid)))
