"""Runs a folder of `frozenseg export` with numpy and onnxruntime: neither torch nor detectron2.

    segmenter = ExportedSegmenter("exported/fcclip")
    segmenter("photo.jpg", "cat, kitten; dog; sky:stuff").save("photo.json")

Legend: B images, Q queries, S synonyms, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from frozenseg.encoders.text.word_vectors import WordVectors, text_cache
from frozenseg.exporting.manifest import read_manifest
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
        model = ExportedModel(folder, device)
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
        self._device = model.device

    @property
    def device(self) -> Any:
        """Where it computes: "cpu" or "cuda"."""
        return self._device

    def to(self, *wanted: Any) -> NoReturn:
        """Raises: ValueError: device and precision of an exported model are fixed."""
        raise ValueError(
            f"an exported model cannot become {', '.join(map(str, wanted))}: give the device to "
            "`frozenseg.load`, and the precision to `frozenseg export`"
        )

    def compile(self, **options: Any) -> NoReturn:
        """Raises: ValueError: onnxruntime has optimised the graph already."""
        raise ValueError("an exported model is not compiled: onnxruntime has optimised its graph")


class ExportedPredictor(Predictor):
    """A `Predictor` whose model takes arrays."""

    def _outputs(self, samples: Samples) -> Sequence[Mapping[str, Any]]:
        outputs: Sequence[Mapping[str, Any]] = self.model(samples)
        return outputs


class ExportedModel:
    """An exported folder with the interface of the models: samples in, detectron2's keys out.

    Attributes:
        manifest: what the folder says about itself.
        device: "cpu" or "cuda".
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
        providers = _providers(device)
        self.device = "cuda" if _CUDA in providers else "cpu"
        self._image = _read(folder / manifest.files["image"], providers)
        self._inputs = {each.name for each in self._image.get_inputs()}
        text = _read(folder / manifest.files["text"], providers)
        with _reading(folder / manifest.files["tokenizer"]):
            tower = ExportedText(folder, manifest.text_digest, text)
        self._vectors = WordVectors(tower, templates=manifest.templates, cache_dir=text_cache())
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
        self._words: Inputs = {}

    def __call__(self, samples: Samples) -> list[Mapping[str, Any]]:
        """What `task_settings` ask for, of images (3, H, W) and result sizes.

        Args: samples: with `image`, `height` and `width`; images are padded to a common size.
        """
        if not self._words:
            self._words = self._word_inputs()
        if self.manifest.fusioner is not None:
            return [self._label(sample) for sample in samples]
        sizes_B2 = np.array([sample["image"].shape[1:] for sample in samples], dtype=np.int64)
        divisor = self.manifest.divisor
        height, width = (-(-sizes_B2.max(0) // divisor) * divisor).tolist()
        image_B3HW = np.zeros((len(samples), 3, height, width), dtype=np.float32)
        for padded_3HW, sample in zip(image_B3HW, samples, strict=True):
            padded_3HW[:, : sample["image"].shape[1], : sample["image"].shape[2]] = sample["image"]
        found = self._run({"image": image_B3HW, "size": sizes_B2})
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

    def _label(self, sample: Mapping[str, Any]) -> Mapping[str, Any]:
        """A Fusioner's classes of the pixels, from windows."""
        settings = self.manifest.fusioner
        assert settings is not None
        labels_HW = semantic_labels(
            sample["image"],
            lambda image, size: self._run({"image": image, "size": size})["logits"],
            self._words["class_of_synonym"],
            crop=settings.crop,
            stride=settings.stride,
            threshold=settings.threshold,
        )
        size = (sample["height"], sample["width"])
        return {"semantic_labels": nearest_resize(labels_HW, size)}

    def _word_inputs(self) -> Inputs:
        """What depends on the words alone, of which the graph has some as inputs."""
        synonyms = self.vocabulary.synonyms
        owners_S = [index for index, names in enumerate(synonyms) for _ in names]
        words: Inputs = {
            "text": self._vectors(self.vocabulary.all_synonyms),
            "class_of_synonym": np.array(owners_S, dtype=np.int64),
            "seen": np.array(seen_classes(self.vocabulary, self._seen_in_training)),
        }
        if "rivals" in self._inputs:  # of a Fusioner: see `Fusioner`
            assert self.manifest.fusioner is not None
            others = [
                names[0]
                for names in self._seen_in_training.synonyms
                if set(names).isdisjoint(self.vocabulary.all_synonyms)
            ]
            words["rivals"] = self._vectors([*others, self.manifest.fusioner.background])
        return words

    def _run(self, inputs: Inputs) -> Inputs:
        """The graph's outputs by name, of images and the words."""
        given = {name: each for name, each in self._words.items() if name in self._inputs}
        wanted: list[str] = [output.name for output in self._image.get_outputs()]
        found: Sequence[NDArray[Any]] = self._image.run(wanted, {**inputs, **given})
        return dict(zip(wanted, found, strict=True))


def _read(path: Path, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    """The graph of a file, ready to run."""
    with _reading(path):
        return onnxruntime.InferenceSession(str(path), providers=list(providers))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """The libraries' errors, of types of their own, as one that names the file."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{path}: damaged or incomplete ({' '.join(str(error).split())}); write the "
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
