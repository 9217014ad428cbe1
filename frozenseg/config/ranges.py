"""The values that config keys, command-line options and entries of dataset files may have, and
what a row of the tables of keys is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, NamedTuple, TypeAlias

LARGEST = 2**31 - 1  # what a 32-bit count holds


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; NaN, infinities and truth values are in no range.

    Attributes:
        low, high: the ends, which belong to it.
        whole: only whole numbers.
        without: numbers that do not belong to it, such as an end.
    """

    low: float
    high: float
    whole: bool = False
    without: tuple[float, ...] = ()

    def __contains__(self, value: object) -> bool:
        number: Any = value
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        return bool(self.low <= number <= self.high) and value not in self.without

    def __str__(self) -> str:
        but = "".join(f", not {number}" for number in self.without)
        return f"a {'whole ' * self.whole}number from {self.low} to {self.high}{but}"


@dataclass(frozen=True)
class Text:
    """Texts without NUL characters, which no system takes in names.

    Attributes:
        empty: also texts without anything but blanks.
    """

    empty: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and "\0" not in value and (self.empty or bool(value.strip()))

    def __str__(self) -> str:
        return f"a text without NUL{'' if self.empty else ', not empty'}"


Accepted: TypeAlias = "Range | Text | tuple[object, ...]"
TEXT, TEXT_OR_NONE = Text(), Text(empty=True)
FRACTION = Range(0, 1)
NOT_NEGATIVE = Range(0, 10**6)
POSITIVE = Range(0, 10**6, without=(0,))


class WeightOrFile(Text):
    """Positive numbers, or the name of a file."""

    def __contains__(self, value: object) -> bool:
        return value in POSITIVE or super().__contains__(value)

    def __str__(self) -> str:
        return f"{POSITIVE}, or {super().__str__()}"


def allowed(value: object, accepted: Accepted) -> bool:
    """Whether a value, of a list each entry, is accepted; () accepts any."""
    if isinstance(accepted, tuple):
        return not accepted or value in accepted
    entries = value if isinstance(value, (list, tuple)) else [value]
    return all(entry in accepted for entry in entries)


def whole(low: int, high: int = LARGEST) -> Range:
    """Whole numbers from `low` to `high`."""
    return Range(low, high, whole=True)


WIDTH = whole(1, 65_536)  # channels, heads, points, queries
LAYERS = whole(1, 1000)
PIXELS = whole(1, 65_536)  # a side
SMALLEST = 32  # pixels: one position of the coarsest features; in less no model finds anything
SCALE = Range(0, 100, without=(0,))
COUNT = whole(1)
COUNT_OR_NONE = whole(0)


class Key(NamedTuple):
    """One config key.

    Attributes:
        name: dotted.
        default: it also fixes the type; None: detectron2's own default.
        meaning: one line; for a tuple of `accepted` values it says why there are no others.
        accepted: the values that may be given, of a list each entry; (): any of the type.
    """

    name: str
    default: object
    meaning: str
    accepted: Accepted = ()


class Relation(NamedTuple):
    """What the values of several keys (or all entries of one) must be to each other.

    Attributes:
        keys: their names.
        holds: of their values.
        rule: one line for the message.
        needed: False: a warning, because it works, though hardly as meant.
    """

    keys: tuple[str, ...]
    holds: Callable[..., Any]
    rule: str
    needed: bool = True
