"""Scores an exported folder on datasets, with the evaluators of `frozenseg evaluate`.

    frozenseg export miniature-fcclip --output exported/int8 --int8
    python tools/evaluate_export.py exported/int8 --config-file configs/miniature/fcclip.yaml

The config is that of the model before its export: it says the datasets and the sizes of images.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.exporting.runtime import ExportedModel


class TensorModel(ExportedModel):
    """An exported model that takes and gives tensors, as detectron2's evaluation does."""

    def __call__(self, samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """See `ExportedModel`."""
        arrays = [{**sample, "image": sample["image"].numpy()} for sample in samples]
        return [_tensors(found) for found in super().__call__(arrays)]


def _tensors(found: Mapping[str, Any]) -> dict[str, Any]:
    import torch
    from detectron2.structures import Instances

    given = dict(found)
    if "panoptic_seg" in given:
        labels_HW, segments = given["panoptic_seg"]
        given["panoptic_seg"] = (torch.from_numpy(labels_HW), segments)
    if "semantic_labels" in given:
        given["semantic_labels"] = torch.from_numpy(given["semantic_labels"])
    if "instances" in given:
        fields = {key: torch.from_numpy(each) for key, each in vars(given["instances"]).items()}
        given["instances"] = Instances(fields["pred_masks"].shape[1:], **fields)
    return given


def main() -> None:
    """Prints a table for every dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of `frozenseg export`, in the format onnx")
    parser.add_argument("--config-file", required=True, metavar="YAML")
    parser.add_argument("--datasets", nargs="+", help="default: DATASETS.TEST of the config")
    args = parser.parse_args()
    from frozenseg.config import load_config
    from frozenseg.data.catalog.register import register_datasets
    from frozenseg.engine.evaluate import evaluate_dataset, plan
    from frozenseg.evaluation.results import format_table

    logging.basicConfig(level=logging.WARNING)
    cfg = load_config(args.config_file)
    register_datasets(cfg)
    model: Any = TensorModel(args.folder)
    if model.task_settings is not None:
        model.task_settings = replace(
            model.task_settings, **dict.fromkeys(model.manifest.tasks, True)
        )
    for name in args.datasets or cfg.DATASETS.TEST:
        print(format_table(evaluate_dataset(model, plan(cfg, name))))


if __name__ == "__main__":
    main()
