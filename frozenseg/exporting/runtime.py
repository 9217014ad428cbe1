"""Runs a folder of `frozenseg export` with numpy and onnxruntime: neither torch nor detectron2.

    segmenter = ExportedSegmenter("exported/fcclip")
    segmenter("photo.jpg", "cat, kitten; dog; sky:stuff").save("photo.json")

Legend: B images, Q queries, S synonyms, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from frozenseg.encoders.text.word_vectors import WordVectors, text_cache
from frozenseg.exporting.manifest import FUSIONER, read_manifest
from frozenseg.exporting.postprocess import solve_task
from frozenseg.exporting.windows import semantic_labels
from frozenseg.exporting.words import ExportedText
from frozenseg.predict.predictor import Predictor
from frozenseg.predict.segmenter import Segmenter
from frozenseg.predict.tasks import check_task
from frozenseg.resize import nearest_resize
from frozenseg.structures import ImageGeometry, TaskSettings
from frozenseg.vocab import Vocabulary, seen_classes

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

Inputs = dict[str, NDArray[Any]]
Samples = Sequence[Mapping[str, Any]]


class ExportedSegmenter(Segmenter):
    """A `Segmenter` whose model is a folder of ONNX files."""

    def __init__(self, folder: str | Path, task: str | None = None, device: str = "auto") -> None:
        """
        Args:
            folder: that `frozenseg export` wrote, in the format "onnx".
            task: where a call does not say; None: that of the export.
            device: "cpu"; "cuda", with the package onnxruntime-gpu; "auto": CUDA if it is there.
        Raises: FileNotFoundError; ValueError for a damaged folder, a task that the model does not
            compute, or a device that onnxruntime does not have.
        """
        folder = Path(folder).expanduser()
        is_fusioner = read_manifest(folder).family == FUSIONER
        model = (ExportedFusioner if is_fusioner else ExportedModel)(folder, device)
        super().__init__(
            ExportedPredictor(
                model,
                task=model.tasks[0] if task is None else check_task(task, model.tasks),
                shortest_edge=model.manifest.shortest_edge,
                longest_edge=model.manifest.longest_edge,
                task_settings=model.manifest.tasks or None,
                precision=model.manifest.precision,
            ),
            name=model.manifest.name,
            about={
                "architecture": model.manifest.family,
                "name": str(folder),
                "weights": str(folder / model.manifest.files["image"]),
            },
        )


class ExportedPredictor(Predictor):
    """A `Predictor` whose model takes arrays."""

    def _outputs(self, samples: Samples) -> Sequence[Mapping[str, Any]]:
        outputs: Sequence[Mapping[str, Any]] = self.model(samples)
        return outputs


class ExportedModel:
    """An exported folder with the interface of the models: samples in, detectron2's keys out.

    Attributes:
        manifest: what the folder says about itself.
        tasks: that it computes, the usual one first.
        task_settings: what a call computes.
        batch_independent: an image's result does not depend on the others of its batch.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        """Arguments and errors: see `ExportedSegmenter`."""
        self.manifest = manifest = read_manifest(folder)
        if manifest.format != "onnx":
            raise ValueError(
                f"{folder} has the format {manifest.format}, which needs torch.export.load: for "
                "this runtime export with --format onnx"
            )
        session = partial(_session, providers=_providers(device))
        self._image = session(folder / manifest.files["image"])
        text = ExportedText(folder, manifest.text_digest, session(folder / manifest.files["text"]))
        self._vectors = WordVectors(text, templates=manifest.templates, cache_dir=text_cache())
        self.tasks = tuple(manifest.tasks) or ("semantic",)
        self.task_settings: TaskSettings | None = manifest.tasks.get(self.tasks[0])
        self.batch_independent = manifest.batch_independent
        self._seen_in_training = manifest.training_words()
        self.set_vocabulary(manifest.words())

    def eval(self) -> ExportedModel:
        """Nothing to do: it never trains."""
        return self

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The words to segment with from now on; text is computed at the next image."""
        self.vocabulary = vocabulary
        self._words: Inputs | None = None

    def __call__(self, samples: Samples) -> list[Mapping[str, Any]]:
        """What `task_settings` ask for, of images (3, H, W) and result sizes.

        Args: samples: with `image`, `height` and `width`; images are padded to a common size.
        """
        if self._words is None:
            self._words = self._word_inputs()
        sizes_B2 = np.array([sample["image"].shape[1:] for sample in samples], dtype=np.int64)
        divisor = self.manifest.divisor
        height, width = (-(-sizes_B2.max(0) // divisor) * divisor).tolist()
        image_B3HW = np.zeros((len(samples), 3, height, width), dtype=np.float32)
        for padded_3HW, sample in zip(image_B3HW, samples, strict=True):
            padded_3HW[:, : sample["image"].shape[1], : sample["image"].shape[2]] = sample["image"]
        found = self._run({"image": image_B3HW, "size": sizes_B2, **self._words})
        return [self._solve(found, i, sample, (height, width)) for i, sample in enumerate(samples)]

    def _solve(
        self, found: Inputs, index: int, sample: Mapping[str, Any], padded: tuple[int, int]
    ) -> Mapping[str, Any]:
        settings = self.task_settings
        assert settings is not None
        geometry = ImageGeometry(
            padded=padded,
            image=sample["image"].shape[1:],
            output=(sample["height"], sample["width"]),
        )
        name = "panoptic_log_probs" if settings.panoptic else ""
        log_probs_BQC1 = found.get(name, found["class_log_probs"])
        things_C = np.array(self.vocabulary.thing_mask)
        masks_QIJ = found["mask_logits"][index]
        return solve_task(log_probs_BQC1[index], masks_QIJ, geometry, things_C, settings)

    def _word_inputs(self) -> Inputs:
        """The graph's inputs that depend on the words alone."""
        return {
            "text": self._vectors(self.vocabulary.all_synonyms),
            "class_of_synonym": self._class_of_synonym(),
            "seen": np.array(seen_classes(self.vocabulary, self._seen_in_training)),
        }

    def _class_of_synonym(self) -> NDArray[np.int64]:
        counts = [len(names) for names in self.vocabulary.synonyms]
        return np.repeat(np.arange(len(counts)), counts)

    def _run(self, inputs: Inputs) -> Inputs:
        """The graph's outputs by name."""
        wanted = [output.name for output in self._image.get_outputs()]
        return dict(zip(wanted, self._image.run(wanted, inputs), strict=True))


class ExportedFusioner(ExportedModel):
    """A Fusioner: label maps, put together from windows."""

    def __call__(self, samples: Samples) -> list[Mapping[str, Any]]:
        """One dict with `semantic_labels` int32 (height, width) per image.

        Args: samples: with `image`, of any size, `height` and `width`.
        """
        if self._words is None:
            self._words = self._word_inputs()
        return [{"semantic_labels": self._label(sample)} for sample in samples]

    def _label(self, sample: Mapping[str, Any]) -> NDArray[np.int32]:
        settings = self.manifest.fusioner
        assert settings is not None

        def score(image_B3cc: NDArray[Any], size_B2: NDArray[Any]) -> NDArray[Any]:
            return self._run({"image": image_B3cc, "size": size_B2, **(self._words or {})})[
                "logits"
            ]

        labels = semantic_labels(
            sample["image"],
            score,
            self._class_of_synonym(),
            crop=settings.crop,
            stride=settings.stride,
            threshold=settings.threshold,
        )
        return nearest_resize(labels, (sample["height"], sample["width"]))

    def _word_inputs(self) -> Inputs:
        inputs = {"text": self._vectors(self.vocabulary.all_synonyms)}
        if "rivals" in {each.name for each in self._image.get_inputs()}:
            asked = set(self.vocabulary.all_synonyms)
            others = [names for names in self._seen_in_training.synonyms if asked.isdisjoint(names)]
            assert self.manifest.fusioner is not None
            background = self.manifest.fusioner.background
            inputs["rivals"] = self._vectors([*(names[0] for names in others), background])
        return inputs


def _session(path: Path, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(str(path), providers=list(providers))
    except Exception as error:
        raise ValueError(
            f"{path}: onnxruntime cannot read it ({' '.join(str(error).split())}); write the "
            "folder again with `frozenseg export`"
        ) from error


def _providers(device: str) -> list[str]:
    """Onnxruntime's names of what computes, the first choice first."""
    there = onnxruntime.get_available_providers()
    if device == "cpu" or (device == "auto" and _CUDA not in there):
        return [_CPU]
    if device not in ("auto", "cuda") or _CUDA not in there:
        raise ValueError(
            f"device {device!r}: an exported model runs on cpu, or on cuda with the package "
            "onnxruntime-gpu in the place of onnxruntime"
        )
    return [_CUDA, _CPU]
