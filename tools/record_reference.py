#!/usr/bin/env python3
"""Records small reference values of both models into tests/reference/, which need no ../shared.

    python tools/record_reference.py

The golden tests run first, in this same run; unless all of them ran and passed, nothing is
written. The models are small (FC-CLIP on ConvNeXt and ResNet, FrozenSeg) and their weights come
from fixed seeds, so only outputs are stored. tests/mask_classification/test_reference.py compares
with them.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "tests" / "reference"
_CONVNEXT = str(FOLDER / "convnext_clip.json")
VARIANTS = {
    "convnext": {"MODEL.FC_CLIP.CLIP_MODEL_NAME": _CONVNEXT},
    "resnet": {
        "MODEL.FC_CLIP.CLIP_MODEL_NAME": str(FOLDER / "resnet_clip.json"),
        "MODEL.FC_CLIP.ENSEMBLE_ON_VALID_MASK": "True",
    },
    "frozenseg": {
        "MODEL.META_ARCHITECTURE": "FrozenSeg",
        "MODEL.SEM_SEG_HEAD.NAME": "FrozenSegHead",
        "MODEL.FROZEN_SEG.CLIP_MODEL_NAME": _CONVNEXT,
        "MODEL.FROZEN_SEG.CLIP_PRETRAINED_WEIGHTS": "",
        "MODEL.FROZEN_SEG.EMBED_DIM": "32",
        "MODEL.SAM_NAME": str(FOLDER / "sam.json"),
        "MODEL.SAM_BRANCH": "released",
    },
}
TRAIN_WORDS = ["cat, kitten", "dog", "grass:stuff", "sky:stuff", "bus"]
TEST_WORDS = ["dog, puppy", "grass:stuff", "red car", "lake, pond:stuff"]


def build_reference_model(variant: str, cache_dir: Path, *more: str) -> Any:
    """The small model of `variant` with its seeded weights, in eval mode; `more` KEY VALUE."""
    from detectron2.data import MetadataCatalog

    from frozenseg.build import build_model
    from frozenseg.config import load_config
    from frozenseg.vocab import Vocabulary

    for name, words in (("reference_train", TRAIN_WORDS), ("reference_test", TEST_WORDS)):
        MetadataCatalog.pop(name, None)
        MetadataCatalog.get(name).vocabulary = Vocabulary.parse("; ".join(words))
    keys = {
        **VARIANTS[variant],
        "DATASETS.TRAIN": "('reference_train',)",
        "DATASETS.TEST": "('reference_test',)",
        "MODEL.TEXT_CACHE_DIR": str(cache_dir),
    }
    opts = [word for pair in keys.items() for word in pair]
    model = build_model(load_config(FOLDER / "fcclip.yaml", [*opts, *more]))
    seed_weights(model)
    return model.eval()


def seed_weights(model: Any) -> None:
    """Overwrites every parameter and statistic from its name alone (numpy's legacy generator,
    whose stream is fixed for good)."""
    import numpy as np
    import torch

    for name, value in model.state_dict().items():
        if not value.is_floating_point() or name.endswith(("empty_weight", "logit_scale")):
            continue
        generator = np.random.RandomState(zlib.crc32(name.encode()))
        noise = torch.from_numpy(generator.standard_normal(tuple(value.shape)).astype("float32"))
        fan_in = value[0].numel() if value.dim() > 1 else 1
        if name.endswith("running_var"):
            value.copy_(1 + noise.abs())
        elif value.dim() > 1:
            value.copy_(noise * fan_in**-0.5)
        else:
            value.copy_(0.1 * noise + (1.0 if name.endswith("weight") else 0.0))


def reference_batch() -> list[dict[str, Any]]:
    """Two images with ground truth, from fixed seeds."""
    import numpy as np
    import torch
    from detectron2.structures import Instances

    generator = np.random.RandomState(7)
    batch = []
    for height, width, masks in ((96, 128, 3), (120, 80, 2)):
        image = generator.randint(0, 256, (3, height, width)).astype("uint8")
        instances = Instances((height, width))
        instances.gt_classes = torch.from_numpy(generator.randint(0, 5, masks))
        boxes = np.zeros((masks, height, width), dtype=bool)
        for mask in boxes:
            top, left = generator.randint(0, height // 2), generator.randint(0, width // 2)
            mask[top : top + height // 3, left : left + width // 3] = True
        instances.gt_masks = torch.from_numpy(boxes)
        batch.append({"image": torch.from_numpy(image), "instances": instances})
    return batch


def reference_values(model: Any) -> dict[str, Any]:
    """What is compared: logits, masks, results of both tasks, losses and gradient norms."""
    import torch

    values = {}
    batch = reference_batch()
    with torch.no_grad():
        features = model.encode(batch)[1]
        prediction = model._decode(features, model.vocabulary, auxiliary=False).final
        values["class_logits"] = prediction.class_logits_BQC1
        values["mask_logits"] = prediction.mask_logits_BQHW
        values["ensemble"] = model.classify(prediction, features).shared
        for index, result in enumerate(model(batch)):
            values[f"panoptic_{index}"] = result["panoptic_seg"][0].to(torch.int32)
            values[f"semantic_{index}"] = result["sem_seg"].argmax(0).to(torch.uint8)
            values[f"scores_{index}"] = result["instances"].scores.sort().values
    model.train()
    torch.manual_seed(1234)
    losses = model(batch)
    sum(losses.values()).backward()
    model.eval()
    values["losses"] = torch.stack([losses[name].detach() for name in sorted(losses)])
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    values["gradient_norms"] = torch.stack([gradients[n].norm() for n in sorted(gradients)])
    return {name: value.detach().contiguous() for name, value in values.items()}


def golden_tests_pass() -> bool:
    """Runs the golden tests; True if at least one ran, none was skipped and all passed."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "golden", str(ROOT / "tests")]
    complete = False
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        for line in run.stdout or ():
            print(line, end="", flush=True)
            complete |= line.startswith("golden tests:") and line.endswith(" passed, 0 skipped\n")
    return complete and run.returncode == 0


def main(args: argparse.Namespace) -> int:
    """Runs the golden tests, then writes one file per variant."""
    import tempfile

    from safetensors.torch import save_file

    from frozenseg.files import write_atomically

    if not golden_tests_pass():
        raise ValueError(
            "the golden tests did not all run and pass (is ../shared there?); nothing was written"
        )
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as cache:
            values = reference_values(build_reference_model(variant, Path(cache)))
        path = FOLDER / f"{variant}.safetensors"
        write_atomically(path, functools.partial(save_file, values))
        print(f"wrote {path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from frozenseg.cli.program import add_debug_flag, run

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_debug_flag(parser)
    run(main, parser.parse_args())
