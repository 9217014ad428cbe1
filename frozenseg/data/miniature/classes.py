"""The words of the miniature world: 64 things (8 shapes x 8 colours), 6 stuff, seen and unseen.

Two splits say what training shows: SEEN leaves out two colours of every shape, NOVEL_SEEN whole
shapes in all their colours. Both leave out one stuff. Two sets of folds say what episodes ask for:
`held_out` and `novel_things`.

Class indices: thing = shape * 8 + colour, then the stuff. The dataset's category id is index + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# First word: the canonical one. The others are synonyms that the miniature CLIP understands.
COLORS: dict[str, tuple[tuple[str, ...], tuple[int, int, int]]] = {
    "red": (("red", "crimson", "scarlet"), (215, 42, 42)),
    "yellow": (("yellow", "golden", "lemon"), (245, 212, 45)),
    "green": (("green", "emerald", "jade"), (40, 165, 65)),
    "blue": (("blue", "azure", "cobalt"), (45, 85, 220)),
    "purple": (("purple", "violet", "plum"), (135, 50, 185)),
    "pink": (("pink", "rose", "magenta"), (246, 128, 190)),
    "white": (("white", "ivory", "chalk"), (238, 238, 238)),
    "black": (("black", "ebony", "charcoal"), (32, 32, 38)),
}
SHAPES: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disk"),
    "square": ("square", "box"),
    "triangle": ("triangle", "pyramid"),
    "star": ("star", "five-pointed star"),
    "cross": ("cross", "plus sign"),
    "ring": ("ring", "hoop"),
    "heart": ("heart", "valentine"),
    "moon": ("moon", "crescent"),
}
STUFF: dict[str, tuple[str, ...]] = {
    "grass": ("grass", "lawn", "meadow"),
    "water": ("water", "sea", "lake"),
    "brick": ("brick", "brick wall", "masonry"),
    "sand": ("sand", "desert", "beach"),
    "gravel": ("gravel", "pebbles", "stones"),
    "wood": ("wood", "planks", "timber"),
}
UNSEEN_STUFF = "wood"
# The colours of shape s that no training image shows: numbers s and s + 3 (modulo 8). Each colour
# is unseen on two shapes and seen on six.
_UNSEEN_OFFSETS = (0, 3)
# What no training image of the split `miniature_novel` shows, beside UNSEEN_STUFF.
NOVEL_SHAPES = ("star", "ring", "moon")
FOLDS = 4  # of the episodic benchmarks; see held_out
# The shapes and the colours that the folds of novel shapes hold out: those that resemble each other
# together, so that no like one is seen.
NOVEL_FOLDS: tuple[tuple[tuple[str, str], tuple[str, str]], ...] = (
    (("circle", "ring"), ("red", "pink")),
    (("square", "triangle"), ("yellow", "green")),
    (("star", "cross"), ("blue", "purple")),
    (("heart", "moon"), ("white", "black")),
)
NOVEL_FOLDER = "miniature_novel_folds"  # of their training scenes, below the root

# Sentences for pretraining beside the prompts of frozenseg.vocab.templates ("vild_14").
CAPTIONS = ("{}", "a {}", "the {}", "a photo of a {}", "a picture of the {}", "one {} in a scene")
PLACE_CAPTIONS = ("a {} on {}", "a photo of a {} on {}", "{} over {}", "there is a {} on the {}")


@dataclass(frozen=True)
class MiniatureClass:
    """One class.

    Attributes:
        name: canonical name.
        synonyms: the words of the vocabulary, `name` first.
        is_thing: a shape (True) or a texture (False).
        seen: occurs in training images (of the split `miniature`).
        color, shape: indices into COLORS and SHAPES; None for stuff.
    """

    name: str
    synonyms: tuple[str, ...]
    is_thing: bool
    seen: bool
    shape: int | None = None
    color: int | None = None


def _things() -> list[MiniatureClass]:
    things = []
    for s, nouns in enumerate(SHAPES.values()):
        unseen = {(s + offset) % len(COLORS) for offset in _UNSEEN_OFFSETS}
        for c, (words, _) in enumerate(COLORS.values()):
            names = (
                f"{words[0]} {nouns[0]}",
                f"{words[1]} {nouns[0]}",
                f"{words[2]} {nouns[1]}",
            )
            things.append(MiniatureClass(names[0], names, True, c not in unseen, s, c))
    return things


CLASSES: tuple[MiniatureClass, ...] = (
    *_things(),
    *(MiniatureClass(n, words, False, n != UNSEEN_STUFF) for n, words in STUFF.items()),
)
SEEN: tuple[int, ...] = tuple(i for i, row in enumerate(CLASSES) if row.seen)
NOVEL_SEEN: tuple[int, ...] = tuple(
    i
    for i, row in enumerate(CLASSES)
    if row.name != UNSEEN_STUFF
    and (row.shape is None or tuple(SHAPES)[row.shape] not in NOVEL_SHAPES)
)
# Benchmark and folder -> the classes that its training shows.
SEEN_OF: dict[str, tuple[int, ...]] = {"miniature": SEEN, "miniature_novel": NOVEL_SEEN}
ALL: tuple[int, ...] = tuple(range(len(CLASSES)))


def held_out(fold: int) -> tuple[int, ...]:
    """The things that fold 0..3 holds out: 2 colours of each shape, each colour on 2 shapes.

    Every shape and every colour remains in 6 seen things.
    """
    things = ((i, row.shape, row.color) for i, row in enumerate(CLASSES))
    return tuple(
        i for i, s, c in things if s is not None and c is not None and (s + c) % FOLDS == fold
    )


def novel_things(fold: int, *, new_shape: bool, new_color: bool) -> tuple[int, ...]:
    """The things whose shape and colour are, or are not, held out by fold 0..3 of novel shapes.

    4 things have both new, 12 a new shape in a seen colour, 12 a seen shape in a new colour; the 36
    with nothing new are learned.
    """
    shapes, colors = NOVEL_FOLDS[fold]
    return tuple(
        i
        for i, row in enumerate(CLASSES)
        if row.shape is not None
        and row.color is not None
        and (tuple(SHAPES)[row.shape] in shapes) == new_shape
        and (tuple(COLORS)[row.color] in colors) == new_color
    )


def vocabulary_text(classes: Sequence[int] = ALL, *, synonyms: bool = True) -> str:
    """The classes in the form `Vocabulary.parse` reads: "red circle, ...; grass, lawn:stuff".

    Without `synonyms` the canonical names only.
    """
    rows = [CLASSES[i] for i in classes]
    names = (", ".join(row.synonyms if synonyms else row.synonyms[:1]) for row in rows)
    kinds = ("" if row.is_thing else ":stuff" for row in rows)
    return ";".join(name + kind for name, kind in zip(names, kinds, strict=True))


def all_names(index: int) -> tuple[str, ...]:
    """Every way to say a class: for things all words of the colour with all words of the shape."""
    row = CLASSES[index]
    if row.shape is None or row.color is None:
        return row.synonyms
    words = tuple(COLORS.values())[row.color][0]
    nouns = tuple(SHAPES.values())[row.shape]
    return tuple(f"{word} {noun}" for word in words for noun in nouns)
