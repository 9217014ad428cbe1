"""The words of the datasets that a config names."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from frozenseg.vocab.vocabulary import Vocabulary


def datasets_vocabulary(
    key: str, names: Sequence[str], metadata_of: Callable[[str], object]
) -> Vocabulary:
    """The vocabulary of the first dataset of `DATASETS.TRAIN` or `.TEST`.

    Args:
        key: "DATASETS.TRAIN" or "DATASETS.TEST".
        metadata_of: detectron2's metadata by name.
    Raises: ValueError if there is none, or if training sets have different ones (their class
        indices would mean different words).
    """
    if not names:
        raise ValueError(f"{key} is empty: name a registered dataset")
    first, *others = (Vocabulary.from_metadata(metadata_of(name)) for name in names)
    for name, vocabulary in zip(names[1:], others, strict=True):
        if key == "DATASETS.TRAIN" and vocabulary != first:
            raise ValueError(
                f"DATASETS.TRAIN: {names[0]} and {name} have different vocabularies, so their "
                "class indices cannot be mixed; train on sets that share one"
            )
    return first
