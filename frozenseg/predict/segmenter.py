"""The public API: a model that is loaded once and segments images with any words.

    segmenter = frozenseg.load("fcclip-convnext-large")
    segmentation = segmenter("photo.jpg", "cat, kitten; dog; sky:stuff")
    segmentation.save("photo.json")

Legend: H and W pixels.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.checkpoints.named_models import DEFAULT_MODEL, MODELS, nothing_found_hint
from frozenseg.errors import warn_once
from frozenseg.predict.images import (
    ImageLike,
    Images,
    check_no_address,
    image_list,
    read_image,
    source_of,
)
from frozenseg.predict.placement import Placement
from frozenseg.predict.predictor import Predictor, build_predictor, segment_together
from frozenseg.predict.results import Results
from frozenseg.predict.segmentation import Segmentation
from frozenseg.predict.tasks import check_task, check_threshold
from frozenseg.predict.words import Words, read_words, with_background
from frozenseg.vocab import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import torch
    from detectron2.config import CfgNode
    from numpy.typing import NDArray

    from frozenseg.predict.video import Video


logger = logging.getLogger(__name__)


_alive: weakref.WeakSet[Segmenter] = weakref.WeakSet()


def _forget_threads() -> None:
    """After a fork: the threads that held locks, or that computed for this one, are not here."""
    for segmenter in list(_alive):
        segmenter._lock = threading.Lock()
    torch = sys.modules.get("torch")  # an exported model needs none
    if _alive and torch is not None:
        torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


class Segmenter(Placement):
    """Images and words in, segmentations out; words and tasks change from call to call.

    One call at a time computes; others (of a web page's threads) wait for it.

    Attributes:
        name: of the model, or the path of its config.
        predictor: the model with its test-time resize.
        device, precision: where and in what it computes; `to` changes them.
        task: what is computed where a call does not say.
        vocabulary: the words where a call does not say.
        about: what identifies the model in result files.
        config: what the model was built from; None where that is not known.
    """

    def __init__(
        self,
        predictor: Predictor,
        *,
        name: str = "",
        about: dict[str, Any] | None = None,
        config: CfgNode | None = None,
    ) -> None:
        """`predictor`'s task and vocabulary become those of calls that name none."""
        self.name = name
        self.predictor = predictor
        self.task = predictor.task
        self.vocabulary: Vocabulary = predictor.vocabulary
        self.about = about or {}
        self.config = config
        self._lock = threading.Lock()
        _alive.add(self)

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock: a copy, or one in another process, has its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        _alive.add(self)

    def __repr__(self) -> str:
        return f"<Segmenter {self.name}, {self.task}, {len(self.vocabulary)} words>"

    def __call__(
        self,
        image: Images,
        vocabulary: Words | None = None,
        task: str | None = None,
        *,
        background: str | None = None,
        score_threshold: float | None = None,
        skip_bad: bool = False,
    ) -> Any:
        """The `Segmentation` of an image, or `Results`, an iterator over those of several.

        Only words that the model has not met before cost anything; nothing is loaded again.

        Args:
            image: a path, PIL image, array or tensor (see `read_image`); several: a folder, a glob
                pattern, a list, an iterator or a batch (4 dimensions).
            vocabulary: the words (see `read_words`): "cat, kitten; dog; sky:stuff", a list of
                names, a dict, a file, a Vocabulary, or a benchmark's name; None: `vocabulary` of
                this object, by default the classes of the config's test set.
            task: "panoptic", "semantic" or "instance".
            background: a word for everything else ("background, other"): where it fits best,
                there is no segment.
            score_threshold: lowest score of a segment (not semantic); None: the usual one.
            skip_bad: of several images, leave out those that cannot be read, with a warning.
        Raises: TypeError or ValueError for images, words or tasks of another kind;
            FileNotFoundError.
        """
        request = self._request(vocabulary, task, background, score_threshold)
        images = image_list(image)
        if images is None:
            source = source_of(image)  # type: ignore[arg-type]
            return self._segment_one(read_image(image), source, request)  # type: ignore[arg-type]
        return Results(images, partial(self._segment_one, request=request), skip_bad=skip_bad)

    def batch(
        self,
        images: Sequence[ImageLike],
        vocabulary: Words | None = None,
        task: str | None = None,
        *,
        background: str | None = None,
        score_threshold: float | None = None,
    ) -> list[Segmentation]:
        """The segmentations of some images; those of one size go through the model together.

        Results equal those of single calls up to rounding. Args and errors: see `__call__`.
        """
        request = self._request(vocabulary, task, background, score_threshold)
        pixels = [read_image(image) for image in images]
        return self._segment(pixels, [source_of(image) for image in images], request)

    def video(
        self,
        path: str | os.PathLike[str],
        vocabulary: Words | None = None,
        task: str | None = None,
        *,
        every: int = 1,
        background: str | None = None,
        score_threshold: float | None = None,
    ) -> Iterator[Segmentation]:
        """The segmentations of a video's frames, one at a time as they are asked for.

        The `source` of each is "PATH#NUMBER", the number that of the frame, from 0. Frames that
        cannot be decoded are left out, with a warning at the end.

        Args:
            path: of a video file. every: segments each so many-th frame only.
            The others: see `__call__`.
        Raises: FileNotFoundError; ValueError for what is no video.
        """
        from frozenseg.predict.video import open_video

        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        check_no_address(path)
        request = self._request(vocabulary, task, background, score_threshold)
        return self._frames(open_video(Path(path).expanduser()), every, request)

    def _frames(self, video: Video, every: int, request: _Request) -> Iterator[Segmentation]:
        with video:
            for frame in video:
                if frame.number % every == 0:
                    name = f"{video.name}#{frame.number}"
                    yield self._segment_one(frame.image_HW3, name, request)
        if video.missing:
            logger.warning("%s: %d frame(s) could not be read", video.name, video.missing)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the model computes, the usual one first."""
        return self.predictor.tasks

    def set_vocabulary(self, vocabulary: Words) -> None:
        """Changes the words of calls that name none. Raises: as `read_words`."""
        self.vocabulary = read_words(vocabulary)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        name: str = "",
        licence: str = "",
        results: str | Path | None = None,
    ) -> Path:
        """Writes the model as a folder that `load` takes anywhere, frozen encoders included.

        `model.safetensors` has all tensors; `frozenseg.json` the config, the words of the training
        and this object's, its task, versions, licences, digests; README.md is a card of it. Other
        files of the folder stay.

        Args:
            name: of the model, for people; "": the one that it was loaded by.
            licence: of the trained weights; "": what is known of them.
            results: a results.json of these very weights, whose scores go with the model.
        Returns: the folder. Raises: ValueError for a model that `load` did not make, and for scores
            of other weights; OSError where nothing can be written.
        """
        from frozenseg.predict.model_folder import save_folder

        if self.config is None:
            raise ValueError("only a model that `frozenseg.load` made can be saved as a folder")
        return save_folder(
            folder,
            self.predictor.model,
            self.config,
            task=self.task,
            vocabulary=self.vocabulary,
            loaded_as=self.name,
            name=name,
            licence=licence,
            results=results,
        )

    def _request(
        self,
        vocabulary: Words | None,
        task: str | None,
        background: str | None,
        score_threshold: float | None,
    ) -> _Request:
        """Everything but the images, checked before anything is computed."""
        task = self.task if task is None else task
        check_task(task, self.tasks)
        check_threshold(task, score_threshold)
        words = self.vocabulary if vocabulary is None else read_words(vocabulary)
        all_words = words if background is None else with_background(words, background)
        return _Request(words, all_words, task, score_threshold)

    def _segment(
        self, images: Sequence[NDArray[np.uint8]], sources: Sequence[str], request: _Request
    ) -> list[Segmentation]:
        with self._lock:
            self.predictor.set_task(request.task, request.score_threshold)
            if self.predictor.vocabulary != request.all_words:
                self.predictor.set_vocabulary(request.all_words)
            found = segment_together(self.predictor, images)
        hint = nothing_found_hint(self.name)
        if hint and not all(each.segments for each in found):
            warn_once(logger, hint, hint)
        if request.all_words is not request.words:
            found = [each.without(request.all_words.names[-1]) for each in found]
        return [
            dataclasses.replace(each, vocabulary=request.words, source=source)
            for each, source in zip(found, sources, strict=True)
        ]

    def _segment_one(
        self, image_HW3: NDArray[np.uint8], source: str, request: _Request
    ) -> Segmentation:
        return self._segment([image_HW3], [source], request)[0]


@dataclasses.dataclass(frozen=True)
class _Request:
    """What to segment with; `all_words` are the words and the background."""

    words: Vocabulary
    all_words: Vocabulary
    task: str
    score_threshold: float | None


def load(
    name_or_config: str | Path = DEFAULT_MODEL,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    task: str | None = None,
    *,
    precision: str | torch.dtype = "float32",
    compile: bool = False,
    opts: Sequence[str] = (),
) -> Segmenter:
    """A model with its weights, ready for images.

    Args:
        name_or_config: a name of `frozenseg.models()`, the path of a YAML config, the folder of a
            model (`Segmenter.save_pretrained`), or one of the Hugging Face hub: "hf:OWNER/NAME" or
            "hf:OWNER/NAME@REVISION".
        weights: a file or a name of the table of weights; None: the named model's own, or the
            config's MODEL.WEIGHTS; "": none, the decoder is random (with a warning).
        device: "cpu", "cuda", "cuda:1", "mps" or a torch.device; "auto": a GPU if there is one.
        task: "panoptic", "semantic" or "instance", where a call does not say; None: panoptic, or
            semantic for models that compute nothing else (Fusioner).
        precision: "float32"; "bfloat16" and "float16" (also torch.bfloat16, ...) compute parts of
            it in half precision; "auto": bfloat16 for the frozen encoders on a GPU and on
            processors with instructions for it, float32 for all else.
        compile: see `Segmenter.compile`.
        opts: config keys and values that take precedence over the config's:
            ("INPUT.MIN_SIZE_TEST", "640").
    Raises: ValueError for an unknown name (with the nearest), task or device; FileNotFoundError
        for weights that are not there, with where to get them; ConnectionError.
    """
    from frozenseg.device import pick_device
    from frozenseg.predict.model_folder import open_model

    if task is not None:
        check_task(task)
    device = pick_device(device)
    opened = open_model(name_or_config, weights, opts)
    cfg = opened.cfg
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = device, opened.weights
    predictor, report = build_predictor(cfg, task=task or opened.task, precision=precision)
    if report is None:
        logger.warning("no weights: the mask decoder is random, its segments mean nothing")
    segmenter = Segmenter(predictor, name=str(name_or_config), about=opened.about, config=cfg)
    if opened.vocabulary is not None:
        segmenter.set_vocabulary(opened.vocabulary)
    return segmenter.compile() if compile else segmenter


def models() -> list[str]:
    """The names that `load` knows."""
    return list(MODELS)
