"""Segments one image after another with the words of a vocabulary.

    cfg = load_config("configs/fcclip/convnext_large.yaml")
    predictor, _ = build_predictor(cfg, task="panoptic", weights="fcclip.pth")
    predictor.set_vocabulary(Vocabulary.parse("cat, kitten; dog; sky:stuff"))
    segmentation = predictor(image)

Legend: H and W pixels, C classes, N instances. Images are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.device import check_compiler, precision_name
from frozenseg.predict.from_outputs import segmentation_of
from frozenseg.predict.segmentation import Segmentation
from frozenseg.predict.tasks import TASKS, check_task, check_threshold, possible_tasks
from frozenseg.progress import stage
from frozenseg.resize import resize_to_edges
from frozenseg.structures import TaskSettings
from frozenseg.visualization.overlay import check_image
from frozenseg.vocab import Vocabulary

if TYPE_CHECKING:
    import torch
    from detectron2.config import CfgNode

    from frozenseg.checkpoints.loading import LoadReport


DEFAULT_INSTANCE_SCORE = 0.5
# Masks and scores are kept per pixel: larger results are computed at this size and enlarged.
MOST_RESULT_PIXELS = 2**21
# Modules of the models whose `forward` is all network: the encoders, then what is trained.
COMPILED_PARTS = ("backbone", "sam", "visual", "sem_seg_head", "method")


class Predictor:
    """A model, a task and the resize of test images; calls never change its state."""

    def __init__(
        self,
        model: Any,
        *,
        task: str = "panoptic",
        shortest_edge: int = 800,
        longest_edge: int = 1333,
        task_settings: Mapping[str, TaskSettings] | None = None,
        precision: str | torch.dtype = "float32",
    ) -> None:
        """
        Args:
            model: with detectron2's interface and `set_vocabulary`; put into test mode.
            task: "panoptic", "semantic" or "instance"; the model must compute it.
            shortest_edge, longest_edge: size of the network's input, in pixels.
            task_settings: what the model computes for each task; None: `task` cannot change.
            precision: "float32"; "bfloat16" or "float16" where the operators allow it, also as a
                torch.dtype; "auto": bfloat16 for the frozen encoders where that is fast.
        """
        self.tasks: tuple[str, ...] = getattr(model, "tasks", TASKS)
        check_task(task, self.tasks)
        model.eval()
        self.model = model
        self.task = task
        self.edges = (shortest_edge, longest_edge)
        self.score_threshold = DEFAULT_INSTANCE_SCORE
        self._precision = "float32"
        self.precision = precision_name(precision)
        self.task_settings = task_settings
        if task_settings is not None:
            self.set_task(task)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words in use."""
        words: Vocabulary = self.model.vocabulary
        return words

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """Changes the words; text is computed at the next image, only for new words."""
        self.model.set_vocabulary(vocabulary)

    def set_task(self, task: str, score_threshold: float | None = None) -> None:
        """Changes what is computed; nothing is loaded again.

        Args: score_threshold: lowest score of a segment from now on; None: the config's
            OBJECT_MASK_THRESHOLD for panoptic, 0.5 for instances.
        Raises: ValueError for an unknown task, one that this model does not compute, or a
            threshold where there is none (semantic).
        """
        check_task(task, self.tasks)
        check_threshold(task, score_threshold)
        if self.task_settings is None:
            if task != self.task or score_threshold is not None:
                raise ValueError(f"this model computes only {self.task} segmentation: load another")
            return
        settings = self.task_settings[task]
        if score_threshold is not None and task == "panoptic":
            settings = dataclasses.replace(settings, object_mask_threshold=score_threshold)
        if task == "instance":
            self.score_threshold = (
                DEFAULT_INSTANCE_SCORE if score_threshold is None else score_threshold
            )
        self.task = task
        self.model.task_settings = settings

    def __call__(self, image_HW3: NDArray[np.uint8]) -> Segmentation:
        """The segmentation of an image at its own size. Raises: ValueError if it is not RGB."""
        return self.batch([image_HW3])[0]

    def batch(self, images: Sequence[NDArray[np.uint8]]) -> list[Segmentation]:
        """The segmentations of some images, computed together; they are padded to a common size.

        Raises: ValueError if one is not RGB uint8.
        """
        for image_HW3 in images:
            check_image(image_HW3)
        outputs = self._outputs([self._sample(image_HW3) for image_HW3 in images])
        with stage("post-processing"):
            return [
                segmentation_of(each, self.task, image_HW3, self.vocabulary, self.score_threshold)
                for each, image_HW3 in zip(outputs, images, strict=True)
            ]

    def _sample(self, image_HW3: NDArray[np.uint8]) -> dict[str, Any]:
        """The resized image (3, H, W), and the size of the result."""
        height, width = image_HW3.shape[:2]
        resized_HW3 = resize_to_edges(image_HW3, *self.edges)
        most = max(MOST_RESULT_PIXELS, resized_HW3.shape[0] * resized_HW3.shape[1])
        factor = min(1.0, (most / (height * width)) ** 0.5)
        return {
            "image": np.ascontiguousarray(resized_HW3.transpose(2, 0, 1)),
            "height": max(1, round(height * factor)),
            "width": max(1, round(width * factor)),
        }

    def _outputs(self, samples: Sequence[dict[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """What the model says about each sample, under detectron2's keys."""
        import torch

        for sample in samples:
            sample["image"] = torch.from_numpy(sample["image"])
        with torch.no_grad(), self._autocast():
            outputs: Sequence[Mapping[str, Any]] = self.model(samples)
        return outputs

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        import torch

        return torch.device(getattr(self.model, "device", "cpu"))

    def compile(self, **options: Any) -> None:
        """Encoders and decoder by torch.compile; see `Segmenter.compile`."""
        check_compiler(self.device.type)
        parts = {name: getattr(self.model, name, None) for name in COMPILED_PARTS}
        for part in filter(None, parts.values()):
            part.compile(**{"fullgraph": True, "dynamic": True, **options})

    @property
    def precision(self) -> str:
        """What it computes in; to set "auto", or another after it, changes that of the encoders."""
        return self._precision

    @precision.setter
    def precision(self, precision: str) -> None:
        if "auto" in (precision, self._precision):
            for part in ("backbone", "sam"):
                if hasattr(getattr(self.model, part, None), "precision"):
                    getattr(self.model, part).precision = (
                        "auto" if precision == "auto" else "float32"
                    )
        self._precision = precision

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        import torch

        if self.precision in ("float32", "auto"):
            return contextlib.nullcontext()
        device = torch.device(getattr(self.model, "device", "cpu"))
        return torch.autocast(device.type, dtype=getattr(torch, self.precision))


def build_predictor(
    cfg: CfgNode,
    *,
    task: str | None = None,
    weights: str = "",
    precision: str | torch.dtype = "float32",
) -> tuple[Predictor, LoadReport | None]:
    """A model from a config with its weights, ready for images on `cfg.MODEL.DEVICE`.

    Args:
        task: None takes the first of those that the architecture computes.
        weights: a file, or a name of the table of weights; "" takes MODEL.WEIGHTS, and if that is
            empty too, the decoder is random.
        precision: see `Predictor`.
    Returns: the predictor, and what was loaded (None: the decoder is random).
    Raises: ValueError or FileNotFoundError of the config, the datasets' words and the weights.
    """
    from frozenseg.build import load_model
    from frozenseg.checkpoints.lookup import resolve_names

    tasks = possible_tasks(cfg)
    task = check_task(task or tasks[0], tasks)
    cfg = cfg.clone()
    cfg.defrost()
    resolve_names(cfg, str(weights) or cfg.MODEL.WEIGHTS)
    own = cfg.clone()
    _turn_on(cfg, task)
    model, report = load_model(cfg, weights)
    predictor = Predictor(
        model,
        task=task,
        shortest_edge=cfg.INPUT.MIN_SIZE_TEST,
        longest_edge=cfg.INPUT.MAX_SIZE_TEST,
        task_settings=_settings_by_task(model, own),
        precision=precision,
    )
    return predictor, report


def _settings_by_task(model: Any, cfg: CfgNode) -> dict[str, TaskSettings] | None:
    """What a model computes for each task alone; None for one that does not say it this way.

    Semantic scores are summed where an evaluation with the same config sums them: at the padded
    size only if the config has no other task on.
    """
    from frozenseg.mask_classification.from_config import task_settings

    if not isinstance(getattr(model, "task_settings", None), TaskSettings):
        return None
    alone = {}
    for task in TASKS:
        changed = cfg.clone()
        _turn_on(changed, task)
        alone[task] = task_settings(changed)
    alone["semantic"] = dataclasses.replace(
        alone["semantic"],
        semantic_at_padded_size=task_settings(cfg).semantic_at_padded_size,
        # The best class of every pixel is enough, and needs no memory for all classes' scores.
        semantic_argmax_only=True,
    )
    return alone


def _turn_on(cfg: CfgNode, task: str) -> None:
    test = cfg.MODEL.MASK_FORMER.TEST
    test.PANOPTIC_ON, test.SEMANTIC_ON, test.INSTANCE_ON = (task == each for each in TASKS)
    test.RECALL_ON = False


def segment_together(
    predictor: Predictor, images: Sequence[NDArray[np.uint8]]
) -> list[Segmentation]:
    """The segmentations of the images in their order, equal to single ones up to rounding.

    Images of one size go through the model together. Those of other sizes do not join them: a batch
    is padded to a common size, and the padding changes what is found.
    """
    together = getattr(predictor.model, "batch_independent", True)
    groups: dict[object, list[int]] = {}
    for index, image_HW3 in enumerate(images):
        groups.setdefault(image_HW3.shape if together else index, []).append(index)
    found: dict[int, Segmentation] = {}
    for group in groups.values():
        found.update(zip(group, predictor.batch([images[i] for i in group]), strict=True))
    return [found[index] for index in range(len(images))]
