"""Segments one image after another with the words of a vocabulary.

    cfg = load_config("configs/fcclip/convnext_large.yaml")
    predictor, _ = build_predictor(cfg, task="panoptic", weights="fcclip.pth")
    predictor.set_vocabulary(Vocabulary.parse("cat, kitten; dog; sky:stuff"))
    segmentation = predictor(image)

Legend: H and W pixels, C classes, N instances. Images are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from frozenseg.data.resize import resize_to_edges
from frozenseg.engine.checkpoint import LoadReport, load_weights
from frozenseg.engine.device import pick_device as pick_device  # part of this module's API
from frozenseg.engine.segmentation import Segmentation, from_label_map, from_masks
from frozenseg.visualization.overlay import check_image
from frozenseg.visualization.regions import nearest_resize
from frozenseg.vocab import Vocabulary
from frozenseg.vocab.benchmarks import table_names

if TYPE_CHECKING:
    from detectron2.config import CfgNode

TASKS = ("panoptic", "semantic", "instance")
DEFAULT_INSTANCE_SCORE = 0.5
# Scores are kept per class and pixel: larger results are computed at this size and enlarged.
MOST_RESULT_PIXELS = 2**21


class SegmentationModel(Protocol):
    """What a predictor needs of a model: detectron2's contract, and words that can change."""

    vocabulary: Vocabulary

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The words to segment with from now on."""

    def eval(self) -> Any:
        """Test mode."""

    def __call__(self, batched_inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One dict of results for each image."""


class Predictor:
    """A model, a task and the resize of test images; calls never change its state."""

    def __init__(
        self,
        model: SegmentationModel,
        *,
        task: str = "panoptic",
        shortest_edge: int = 800,
        longest_edge: int = 1333,
        score_threshold: float = DEFAULT_INSTANCE_SCORE,
    ) -> None:
        """
        Args:
            model: put into test mode.
            task: "panoptic", "semantic" or "instance"; the model must compute it.
            shortest_edge, longest_edge: size of the network's input, in pixels.
            score_threshold: instances below it are dropped.
        """
        check_task(task)
        model.eval()
        self.model = model
        self.task = task
        self.edges = (shortest_edge, longest_edge)
        self.score_threshold = score_threshold

    @property
    def vocabulary(self) -> Vocabulary:
        """The words in use."""
        return self.model.vocabulary

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Changes the words; text is computed at the next image, only for new words."""
        self.model.set_vocabulary(vocabulary)

    def __call__(self, image_HW3: NDArray[np.uint8]) -> Segmentation:
        """The segmentation of an image at its own size. Raises: ValueError if it is not RGB."""
        check_image(image_HW3)
        height, width = image_HW3.shape[:2]
        resized_HW3 = resize_to_edges(image_HW3, *self.edges)
        most = max(MOST_RESULT_PIXELS, resized_HW3.shape[0] * resized_HW3.shape[1])
        factor = min(1.0, (most / (height * width)) ** 0.5)
        result_size = max(1, round(height * factor)), max(1, round(width * factor))
        sample = {
            "image": torch.from_numpy(np.ascontiguousarray(resized_HW3.transpose(2, 0, 1))),
            "height": result_size[0],
            "width": result_size[1],
        }
        with torch.no_grad():
            outputs = self.model([sample])[0]
        return self._segmentation(outputs, (height, width))

    def _segmentation(self, outputs: Mapping[str, Any], size: tuple[int, int]) -> Segmentation:
        if self.task == "panoptic":
            label_map_HW, segments_info = outputs["panoptic_seg"]
            return _panoptic(label_map_HW, segments_info, size, self.vocabulary)
        if self.task == "semantic":
            return _semantic(outputs["sem_seg"], size, self.vocabulary)
        return _instances(outputs["instances"], size, self.vocabulary, self.score_threshold)


def build_predictor(
    cfg: CfgNode,
    *,
    task: str = "panoptic",
    weights: str = "",
    score_threshold: float | None = None,
) -> tuple[Predictor, LoadReport | None]:
    """A model from a config with its weights, ready for images on `cfg.MODEL.DEVICE`.

    Args:
        weights: a file; "" takes MODEL.WEIGHTS, and if that is empty too, the decoder is random.
        score_threshold: lowest score of a segment; None: the config's OBJECT_MASK_THRESHOLD for
            panoptic, 0.5 for instances. Semantic segmentation has none.
    Returns: the predictor, and what was loaded (None: the decoder is random).
    Raises: ValueError or FileNotFoundError of the config, the data sets' words and the weights.
    """
    from frozenseg.data.register import register_benchmarks
    from frozenseg.engine.build import build_model
    from frozenseg.engine.compat import random_encoders

    check_task(task)
    cfg = cfg.clone()
    test = cfg.MODEL.MASK_FORMER.TEST
    test.PANOPTIC_ON, test.SEMANTIC_ON, test.INSTANCE_ON = (task == each for each in TASKS)
    if score_threshold is not None and task == "panoptic":
        test.OBJECT_MASK_THRESHOLD = score_threshold
    register_benchmarks()
    model = build_model(cfg)
    path = weights or cfg.MODEL.WEIGHTS
    encoders = random_encoders(cfg)
    report = load_weights(model, path, random_encoders=encoders) if path else None
    predictor = Predictor(
        model,
        task=task,
        shortest_edge=cfg.INPUT.MIN_SIZE_TEST,
        longest_edge=cfg.INPUT.MAX_SIZE_TEST,
        score_threshold=DEFAULT_INSTANCE_SCORE if score_threshold is None else score_threshold,
    )
    return predictor, report


def read_vocabulary(text: str) -> Vocabulary:
    """What a user means by a vocabulary: a file, a built-in table, or the words themselves.

    Raises: FileNotFoundError for what looks like a file and is not there; ValueError for no words
        and for what is nearly the name of a table.
    """
    path, name = Path(text).expanduser(), text.strip()
    near_table = "_" in name and difflib.get_close_matches(name, table_names(), cutoff=0.8)
    if near_table or name in table_names():
        return Vocabulary.from_table(name)
    looks_like_file = path.suffix.lower() in (".txt", ".tsv", ".json")
    if looks_like_file or (len(text) < 250 and path.is_file()):
        return Vocabulary.from_file(path)
    return Vocabulary.parse(text)


def check_task(task: str) -> None:
    """Raises: ValueError for an unknown task."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: use one of {', '.join(TASKS)}")


def _panoptic(
    label_map_HW: torch.Tensor,
    segments_info: list[dict[str, Any]],
    size: tuple[int, int],
    vocabulary: Vocabulary,
) -> Segmentation:
    classes = {info["id"]: int(info["category_id"]) for info in segments_info}
    scores = {info["id"]: info.get("score") for info in segments_info}
    full_HW = nearest_resize(label_map_HW.cpu().numpy().astype(np.int32), size)
    return from_label_map(full_HW, classes, vocabulary, "panoptic", scores)


def _semantic(
    sem_seg_CHW: torch.Tensor, size: tuple[int, int], vocabulary: Vocabulary
) -> Segmentation:
    """Ids are class index + 1: every pixel has a class."""
    label_map_HW = sem_seg_CHW.argmax(0).cpu().numpy().astype(np.int32) + 1
    classes = {index + 1: index for index in range(len(vocabulary))}
    return from_label_map(nearest_resize(label_map_HW, size), classes, vocabulary, "semantic")


def _instances(
    instances: Any, size: tuple[int, int], vocabulary: Vocabulary, threshold: float
) -> Segmentation:
    """Instances of things with at least the threshold's score."""
    scores_N, classes_N = instances.scores.cpu(), instances.pred_classes.cpu()
    thing_C = torch.tensor(vocabulary.thing_mask)
    kept_N = (scores_N >= threshold) & thing_C[classes_N]
    best_first = [i for i in scores_N.argsort(descending=True, stable=True).tolist() if kept_N[i]]
    detections = (
        (
            nearest_resize(instances.pred_masks[i].cpu().numpy().astype(bool), size),
            int(classes_N[i]),
            float(scores_N[i]),
        )
        for i in best_first
    )
    return from_masks(detections, size, vocabulary)
