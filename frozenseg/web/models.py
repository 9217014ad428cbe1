"""The models of the web page: which can be chosen, and the few that are in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from frozenseg.predict.segmenter import Segmenter
    from frozenseg.vocab import Vocabulary


@dataclass
class LoadedModel:
    """A model in memory and the words that it has met, the longest unused ones first."""

    segmenter: Segmenter
    met: dict[str, None] = field(default_factory=dict)

    def new_words(self, vocabulary: Vocabulary) -> int:
        """How many words of a vocabulary are new to the model."""
        return len(set(vocabulary.all_synonyms) - self.met.keys())

    def meet(self, vocabulary: Vocabulary) -> None:
        """The words of a vocabulary are no longer new, as long as the model keeps them."""
        from frozenseg.encoders.text.word_vectors import MOST_WORDS

        for word in vocabulary.all_synonyms:
            self.met[word] = self.met.pop(word, None)
        for word in list(self.met)[:-MOST_WORDS]:
            del self.met[word]


class ModelShelf:
    """Models by name, loaded when first asked for; the longest unused one makes room."""

    def __init__(
        self, names: Sequence[str], load: Callable[[str], Segmenter], *, most: int = 2
    ) -> None:
        """
        Args:
            names: what can be asked for, the default first.
            load: the model of a name.
            most: models in memory at a time.
        Raises: ValueError for no names, or room for none.
        """
        if not names or most < 1:
            raise ValueError(f"{len(names)} models with room for {most}: at least 1 is needed")
        self.names = tuple(names)
        self._load = load
        self._most = most
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names of the models in memory, the longest unused first."""
        return tuple(self._loaded)

    def get(self, name: str) -> LoadedModel:
        """A model, from memory or loaded now; other callers wait meanwhile.

        Raises: ValueError for an unknown name; what loading raises.
        """
        if name not in self.names:
            raise ValueError(f"There is no model {name!r}: choose one of {', '.join(self.names)}.")
        with self._lock:
            if name not in self._loaded:
                # Before loading: two large models need not fit at once where there is room for 1.
                while len(self._loaded) >= self._most:
                    self._loaded.popitem(last=False)
                self._loaded[name] = LoadedModel(self._load(name))
            self._loaded.move_to_end(name)
            return self._loaded[name]


def available_models() -> list[str]:
    """The names of `frozenseg.models()` whose weights are on this machine."""
    from frozenseg.checkpoints.lookup import path_of
    from frozenseg.checkpoints.named_models import MODELS
    from frozenseg.checkpoints.table import find_weights

    return [name for name in MODELS if path_of(find_weights(name)).is_file()]


def usual_thresholds(segmenter: Segmenter) -> dict[str, float]:
    """The score threshold that each task has where none is given; semantic has none."""
    from frozenseg.predict.predictor import DEFAULT_INSTANCE_SCORE

    settings = segmenter.predictor.task_settings
    if settings is None:
        return {}
    return {
        "panoptic": float(settings["panoptic"].object_mask_threshold),
        "instance": DEFAULT_INSTANCE_SCORE,
    }
