"""Scores by Cityscapes' own scripts, where `cityscapesscripts` is installed.

Their instance AP is another measure than COCO's (no limit of detections, objects of less than 100
pixels left out, another interpolation), so ours, which is always computed, differs from it. Their
IoU is ours in the "ground_truth" convention.
Source: https://github.com/mcordts/cityscapesScripts.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import logging
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from PIL import Image

from frozenseg.evaluation.semantic_iou import predicted_labels

logger = logging.getLogger(__name__)

PACKAGE = "cityscapesscripts"
IMAGE_END = "_leftImg8bit.png"
NO_LABEL = 255


def official_evaluators(
    tasks: Collection[str], class_of_label: Mapping[int, int], gt_dir: str
) -> list[DatasetEvaluator]:
    """Those for `tasks`; none, with a line in the log, where the package is not installed."""
    wanted = [_EVALUATORS[task] for task in _EVALUATORS if task in tasks]
    if wanted and importlib.util.find_spec(PACKAGE) is None:
        logger.warning(
            "%s is not installed (pip install %s): Cityscapes' own AP and IoU are left out; AP "
            "here is COCO's and differs from theirs, mIoU is the same",
            *(PACKAGE, PACKAGE),
        )
        return []
    return [make(class_of_label, Path(gt_dir)) for make in wanted]


class _Official(DatasetEvaluator):
    """Writes predictions as files into a folder that the processes of a machine share.

    Attributes:
        truth_end: what the names of the ground truth end in.
        key: of the result.
        averages: score of ours -> theirs.
    """

    truth_end: str
    key: str
    averages: Mapping[str, str]

    def __init__(self, class_of_label: Mapping[int, int], gt_dir: Path) -> None:
        self.label_of = {label: category for category, label in class_of_label.items()}
        self.gt_dir = gt_dir

    def reset(self) -> None:
        """Forgets all images."""
        self._own = tempfile.TemporaryDirectory(prefix="cityscapes_")
        self.folder = Path(comm.all_gather(self._own.name)[0])
        self.files: list[tuple[str, str]] = []  # prediction, ground truth

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images."""
        for record, output in zip(inputs, outputs, strict=True):
            name = Path(record["file_name"]).name.removesuffix(IMAGE_END)
            truth = self.gt_dir / name.split("_")[0] / f"{name}{self.truth_end}"
            self.files.append((str(self._write(name, output)), str(truth)))

    def _write(self, name: str, output: Mapping[str, Any]) -> Path:
        raise NotImplementedError

    def _script(self) -> Any:
        raise NotImplementedError

    def evaluate(self) -> dict[str, Any] | None:
        """The scores, on the main process. Raises: ValueError with what the script complains of."""
        parts = comm.gather(self.files)
        scores = None
        if comm.is_main_process():
            predictions, truths = zip(
                *sorted({pair for part in parts for pair in part}), strict=True
            )
            script = self._script()
            for key, value in self._settings().items():
                setattr(script.args, key, value)
            said = io.StringIO()
            try:
                with contextlib.redirect_stdout(said):
                    found = script.evaluateImgLists(list(predictions), list(truths), script.args)
            except SystemExit as error:  # their way of reporting a mistake
                raise ValueError(f"{PACKAGE}: {said.getvalue().strip()[-300:]}") from error
            found = found.get("averages", found)
            percent = {ours: 100 * found[theirs] for ours, theirs in self.averages.items()}
            scores = {self.key: {"all": percent}}
        comm.synchronize()
        self._own.cleanup()
        return scores

    def _settings(self) -> dict[str, Any]:
        return {
            "predictionPath": str(self.folder.resolve()),
            "predictionWalk": None,
            "JSONOutput": False,
            "colorized": False,
            "quiet": True,
            "gtInstancesFile": str(self.folder / "gtInstances.json"),
        }


class CityscapesInstances(_Official):
    """Cityscapes' instance AP."""

    truth_end = "_gtFine_instanceIds.png"
    key = "cityscapes_instance"
    averages = MappingProxyType({"AP": "allAp", "AP50": "allAp50%"})

    def _script(self) -> Any:
        return importlib.import_module(
            "cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling"
        )

    def _write(self, name: str, output: Mapping[str, Any]) -> Path:
        instances = output["instances"].to("cpu")
        lines = []
        for number in range(len(instances)):
            label = self.label_of[int(instances.pred_classes[number])]
            mask = instances.pred_masks[number].numpy().astype(np.uint8) * 255
            file = f"{name}_{number}.png"
            Image.fromarray(mask).save(self.folder / file, compress_level=1)
            lines.append(f"{file} {label} {float(instances.scores[number])}\n")
        path = self.folder.resolve() / f"{name}_instances.txt"
        path.write_text("".join(lines), encoding="utf-8")
        return path


class CityscapesLabels(_Official):
    """Cityscapes' IoU and its instance-weighted IoU."""

    truth_end = "_gtFine_labelIds.png"
    key = "cityscapes_semantic"
    averages = MappingProxyType({"IoU": "averageScoreClasses", "iIoU": "averageScoreInstClasses"})

    def _script(self) -> Any:
        return importlib.import_module(
            "cityscapesscripts.evaluation.evalPixelLevelSemanticLabeling"
        )

    def _write(self, name: str, output: Mapping[str, Any]) -> Path:
        table = np.full(256, NO_LABEL, dtype=np.uint8)
        for index, label in self.label_of.items():
            table[index] = label
        path = self.folder.resolve() / f"{name}_labels.png"
        Image.fromarray(table[predicted_labels(output)]).save(path, compress_level=1)
        return path


_EVALUATORS = {"instance": CityscapesInstances, "semantic": CityscapesLabels}
