"""The small models of the golden data, built through the config like any other model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from tests.golden_models import write_clip_config, write_sam_config

GOLDEN = ("fcclip_tiny_convnext", "frozenseg_tiny_convnext")


def _metadata(vocab: dict) -> tuple[SimpleNamespace, SimpleNamespace]:
    train, test = vocab["train_stuff_classes"], vocab["test_stuff_classes"]
    things = vocab["test_thing_contiguous_ids"]
    return (
        SimpleNamespace(stuff_classes=train, thing_dataset_id_to_contiguous_id={}),
        SimpleNamespace(
            stuff_classes=test,
            thing_classes=[test[i] for i in things],
            thing_dataset_id_to_contiguous_id={i: i for i in things},
        ),
    )


def build_golden_model(folder: Path, tmp: Path, *opts: str, parts: Mapping[str, Tensor] = {}):
    """The golden model with its weights loaded strictly, in eval mode, golden words set.

    Args: parts: weights of a descendant's parts; they take precedence.
    """
    from detectron2.data import MetadataCatalog
    from detectron2.modeling import build_model

    import frozenseg.encoders.clip.backbone
    import frozenseg.mask_classification.model  # noqa: F401  (registers the architecture)
    from frozenseg.config import load_config
    from frozenseg.vocab import Vocabulary

    vocab = json.loads((folder / "vocab.json").read_text())
    for name, metadata in zip(("golden_train", "golden_test"), _metadata(vocab), strict=True):
        MetadataCatalog.pop(name, None)
        MetadataCatalog.get(name).vocabulary = Vocabulary.from_metadata(metadata)
    clip = str(write_clip_config(folder, tmp))
    cfg = load_config(
        folder / "cfg.yaml",
        [
            "MODEL.FC_CLIP.CLIP_MODEL_NAME",
            clip,
            "MODEL.FROZEN_SEG.CLIP_MODEL_NAME",
            clip,
            "MODEL.SAM_NAME",
            str(write_sam_config(folder, tmp)),
            "MODEL.SAM_BRANCH",
            "released",
            "MODEL.TEXT_CACHE_DIR",
            str(tmp / "text_cache"),
            "DATASETS.TRAIN",
            "('golden_train',)",
            "DATASETS.TEST",
            "('golden_test',)",
            "MODEL.DEVICE",
            "cpu",
            *opts,
        ],
    )
    model = build_model(cfg)
    state = torch.load(folder / "state_dict.pt", weights_only=True)
    lacking = [
        name
        for name in ("criterion", "sem_seg_head")  # a Mask-Adapter's training has none
        if getattr(model, name) is None
    ]
    state = {name: v for name, v in state.items() if name.split(".")[0] not in lacking}
    model.load_state_dict({**state, **parts}, strict=True)
    return model.eval()


@pytest.fixture(scope="module", params=GOLDEN)
def golden_folder(request: pytest.FixtureRequest, golden_dir: Path) -> Path:
    return golden_dir / request.param


@pytest.fixture(scope="module")
def golden_model(golden_folder: Path, tmp_path_factory):
    return build_golden_model(golden_folder, tmp_path_factory.mktemp("golden"))


@pytest.fixture(scope="module")
def golden_inputs(golden_folder: Path):
    return torch.load(golden_folder / "inputs.pt", weights_only=True)


@pytest.fixture(scope="module")
def golden_eval(golden_folder: Path):
    return torch.load(golden_folder / "eval.pt", weights_only=True)
