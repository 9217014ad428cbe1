"""The YAML files of configs/, and the effect of every config key.

A key has an effect if changing it changes what is built: types, parameters, buffers and every
attribute that the borders (`from_config`) set on the model, the mapper or the optimizer. Reading a
key without consequence, or not at all, fails.
"""

from __future__ import annotations

import functools
import hashlib
import json
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY, build_model
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from frozenseg.config import KEYS, Key, get_config, load_config
from frozenseg.config import load as config
from frozenseg.config.legacy import legacy_row
from frozenseg.data.catalog.lookup import find_split
from frozenseg.data.catalog.register import register_splits
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.mappers.masks import build_mapper
from frozenseg.encoders.clip.backbone import load_clip
from frozenseg.encoders.sam.model import load_sam
from frozenseg.engine.evaluate import (
    Plan,
    diagnosis_evaluators,
    per_image_writers,
    prediction_writers,
)
from frozenseg.engine.optimizer import build_optimizer
from frozenseg.engine.trainer import Trainer
from frozenseg.files import flatten
from frozenseg.mask_classification.class_path import MASK_POOLING_REGISTRY
from frozenseg.mask_classification.decoder import (
    TRANSFORMER_DECODER_REGISTRY,
    MultiScaleMaskedTransformerDecoder,
)
from frozenseg.mask_classification.pixel_decoder import MSDeformAttnPixelDecoder
from frozenseg.vocab import Vocabulary

CONFIGS = Path(__file__).parents[1] / "configs"
WORDS = {"test_configs_seen": ["cat", "dog, hound"], "test_configs_all": ["cat", "dog", "tree"]}


class Change(NamedTuple):
    """How to see that a key matters.

    Attributes:
        value: another value than the default.
        built: what must differ: "model", "train_mapper", "test_mapper", "optimizer", "trainer",
            "prediction_writers", "per_image_writers", "diagnosis".
        refused: the change must be a ValueError that matches this pattern instead.
        given: other keys that the effect needs, set before and after the change.
    """

    value: object
    built: str = "model"
    refused: str = ""
    given: Mapping[str, object] = {}


class OtherPixelDecoder(MSDeformAttnPixelDecoder):
    """Stands in the registry so that another name can be asked for."""


class OtherDecoder(MultiScaleMaskedTransformerDecoder):
    """Stands in the registry so that another name can be asked for."""


class OtherPooling:
    """Stands in the registry so that a pooling can be asked for."""

    def __init__(self, cfg, backbone):
        pass


_AGREE = "MODEL.SEM_SEG_HEAD.CONVS_DIM, MODEL.SEM_SEG_HEAD.MASK_DIM and MODEL.MASK_FORMER.HIDDEN"
_STRIDES = "IN_FEATURES .* have strides"
_FROZEN_SEG = {"MODEL.META_ARCHITECTURE": "FrozenSeg"}
_FUSIONER = {"MODEL.META_ARCHITECTURE": "Fusioner"}
_COSINE = {"SOLVER.LR_SCHEDULER_NAME": "CosineGroups"}
_EPISODES = {"INPUT.DATASET_MAPPER_NAME": "episodes"}
_ADAPTER = {"MODEL.MASK_ADAPTER.NAME": "MASKAdapterHead", "MODEL.MASK_ADAPTER.NUM_CHANNELS": 8}
_CDT, _STUDENT = {"MODEL.CDT.FORM": "semantic"}, {"MODEL.STUDENT.ENABLED": True}
_CLIPPED = {"SOLVER.CLIP_GRADIENTS.ENABLED": True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model"}

CLIP_CHANGES: dict[str, Change] = {
    "CLIP_MODEL_NAME": Change("wider_clip.json"),
    "CLIP_PRETRAINED_WEIGHTS": Change("weights.pt"),
    "EMBED_DIM": Change(99, refused="EMBED_DIM"),
    "CLIP_PRECISION": Change("bfloat16"),
    "CLASS_ENSEMBLE": Change(False),
    "GEOMETRIC_ENSEMBLE_ALPHA": Change(0.1),
    "GEOMETRIC_ENSEMBLE_BETA": Change(0.1),
    "ENSEMBLE_ON_VALID_MASK": Change(True),
    "TEMPLATES": Change("simple"),
    "VOID_TRUST": Change(0.5),
    "VOID_TRUST_EVERYWHERE": Change(True),
}

# Every key of frozenseg.config.KEYS, in its order.
CHANGES: dict[str, Change] = {
    **{f"MODEL.FC_CLIP.{name}": change for name, change in CLIP_CHANGES.items()},
    **{
        f"MODEL.FROZEN_SEG.{name}": change._replace(given=_FROZEN_SEG)
        for name, change in CLIP_CHANGES.items()
    },
    "MODEL.SAM_NAME": Change("wider_sam.json", given=_FROZEN_SEG),
    "MODEL.SAM_PRETRAINED_WEIGHTS": Change("sam.safetensors", given=_FROZEN_SEG),
    "MODEL.SAM_PRECISION": Change("bfloat16", given=_FROZEN_SEG),
    "MODEL.SAM_BRANCH": Change("released", given=_FROZEN_SEG),
    **{
        f"MODEL.FUSIONER.{name}": Change(value, given=_FUSIONER)
        for name, value in (
            ("METHOD", "late"),
            ("VISUAL", "clip.json"),
            ("VISUAL_WEIGHTS", "vit.safetensors"),
            ("LANGUAGE", "wider_clip.json"),
            ("LANGUAGE_WEIGHTS", "weights.pt"),
            ("TEMPLATES", "vild_14"),
            ("WIDTH", 24),
            ("LAYERS", 2),
            ("HEADS", 4),
            ("FEEDFORWARD", 12),
            ("TEMPERATURE", 0.1),
            ("THRESHOLD", 0.4),
            ("STRIDE", 100),
            ("WINDOWS_AT_ONCE", 2),
        )
    },
    "MODEL.FUSIONER.CROP": Change(256, given=_FUSIONER),
    "MODEL.FUSIONER.FEATURE_CACHE_DIR": Change(
        "features", given={**_FUSIONER, "INPUT.EPISODES.AUGMENT": False}
    ),
    "MODEL.TEXT_CACHE_DIR": Change("/elsewhere"),
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": Change(9, refused="MODEL.SEM_SEG_HEAD.NUM_CLASSES is 9"),
    "MODEL.MASK_POOLING": Change("OtherPooling"),
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": Change("OtherPixelDecoder"),
    "MODEL.SEM_SEG_HEAD.MASK_DIM": Change(64, refused=_AGREE),
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": Change(2),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES": Change(
        ["res2", "res4", "res5"], refused=_STRIDES
    ),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS": Change(4),
    "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS": Change(2),
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": Change("OtherDecoder"),
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": Change(7),
    "MODEL.MASK_FORMER.HIDDEN_DIM": Change(64, refused=_AGREE),
    "MODEL.MASK_FORMER.NHEADS": Change(4),
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": Change(24),
    "MODEL.MASK_FORMER.DEC_LAYERS": Change(3),
    "MODEL.MASK_FORMER.SIZE_DIVISIBILITY": Change(64),
    "MODEL.MASK_FORMER.SAM_FEATURE_FUSE_LAYER": Change(1, given=_FROZEN_SEG),
    "MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER": Change(1, given=_FROZEN_SEG),
    "MODEL.MASK_FORMER.SAM_KEEP_POSITIONS": Change(True, given=_FROZEN_SEG),
    "MODEL.MASK_FORMER.DEEP_SUPERVISION": Change(False),
    "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT": Change(0.2),
    "MODEL.MASK_FORMER.CLASS_WEIGHT": Change(3.0),
    "MODEL.MASK_FORMER.MASK_WEIGHT": Change(3.0),
    "MODEL.MASK_FORMER.DICE_WEIGHT": Change(3.0),
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": Change(64),
    "MODEL.MASK_FORMER.OVERSAMPLE_RATIO": Change(2.0),
    "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO": Change(0.5),
    "MODEL.MASK_FORMER.TEST.SEMANTIC_ON": Change(False),
    "MODEL.MASK_FORMER.TEST.PANOPTIC_ON": Change(True),
    "MODEL.MASK_FORMER.TEST.INSTANCE_ON": Change(True),
    "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD": Change(0.5),
    "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD": Change(0.5),
    "MODEL.MASK_FORMER.TEST.PANOPTIC_MAX_IOU": Change(0.7),
    "MODEL.MASK_FORMER.TEST.RECALL_ON": Change(True),
    "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE": Change(True),
    "TEST.USE_SAM_MASKS": Change(True, given=_FROZEN_SEG),
    "TEST.SAM_MASK_PRED_ALPHA": Change(0.5),
    "TEST.SAM_MASKS_DIR": Change("export", given={**_FROZEN_SEG, "TEST.USE_SAM_MASKS": True}),
    "TEST.SAM_MASKS_AS_QUERIES": Change(True),
    "TEST.SAM_QUERY_WEIGHT": Change(0.5),
    "TEST.SAM_QUERY_MAX_IOU": Change(0.9),
    **{
        f"TEST.SAM_MASK_GENERATION.{name}": Change(
            value, given={**_FROZEN_SEG, "TEST.USE_SAM_MASKS": True}
        )
        for name, value in (
            ("POINTS_PER_SIDE", 4),
            ("PRED_IOU_THRESH", 0.5),
            ("STABILITY_SCORE_THRESH", 0.5),
            ("STABILITY_SCORE_OFFSET", 0.5),
            ("BOX_NMS_THRESH", 0.5),
            ("MIN_MASK_REGION_AREA", 5),
            ("MAX_MASKS", 5),
        )
    },
    "DATASETS.FILES": Change(["words.txt"], "trainer", refused=r"DATASETS\.FILES names 'words"),
    "DATASETS.WORDS": Change("words", "trainer", refused=r"DATASETS\.WORDS is 'words'"),
    "INPUT.DATASET_MAPPER_NAME": Change("none", "train_mapper", refused="DATASET_MAPPER_NAME"),
    "INPUT.FORMAT": Change("L", "test_mapper", refused="INPUT.FORMAT = 'L'"),
    "INPUT.RANDOM_FLIP": Change("none", "train_mapper"),
    "INPUT.IMAGE_SIZE": Change(64, "train_mapper"),
    "INPUT.MIN_SCALE": Change(0.5, "train_mapper"),
    "INPUT.MAX_SCALE": Change(1.5, "train_mapper"),
    "INPUT.EPISODES.AUGMENT": Change(False, "train_mapper", given=_EPISODES),
    "INPUT.EPISODES.COLOR_JITTER": Change(0.2, "train_mapper", given=_EPISODES),
    "INPUT.EPISODES.ROTATION": Change(10.0, "train_mapper", given=_EPISODES),
    "SOLVER.OPTIMIZER": Change("SGD", "optimizer"),
    "SOLVER.EPOCHS": Change(800.0, "trainer"),
    "SOLVER.WARMUP_EPOCHS": Change(400.0, "trainer", given={**_COSINE, "SOLVER.EPOCHS": 800.0}),
    "SOLVER.BASE_LR_END": Change(1e-5, "trainer", given=_COSINE),
    "SOLVER.WEIGHT_DECAY_END": Change(0.4, "trainer", given=_COSINE),
    "SOLVER.CONSTANT_MODULES": Change(["void_embedding"], "optimizer"),
    "SOLVER.WEIGHT_DECAY_EMBED": Change(0.3, "optimizer"),
    "SOLVER.ACCUMULATION_STEPS": Change(2, "trainer"),
    "SOLVER.EMA_DECAY": Change(0.9, "trainer"),
    "MODEL.INIT_FROM": Change("other.pth", "trainer"),
    "WANDB_PROJECT": Change("mine", "trainer", refused="package wandb is not installed"),
    "TEST.BEST_METRIC": Change("PQ", "trainer", refused=r"BEST_METRIC is 'PQ'.*panoptic/all/PQ"),
    "TEST.PATIENCE": Change(2, "trainer", refused=r"PATIENCE is 2, which needs TEST\.BEST_METRIC"),
    "TEST.SAVE_PREDICTIONS": Change(True, "prediction_writers"),
    "TEST.SAVE_PER_IMAGE": Change(True, "per_image_writers"),
    "TEST.DIAGNOSE": Change(True, "diagnosis"),
    "TEST.VALIDATION_LOSS": Change(
        True, "trainer", refused="no set of DATASETS.TEST has training targets"
    ),
    "MODEL.MASK_FORMER.CLASS_WEIGHTS": Change([1.0, 2.0]),
    "MODEL.MASK_ADAPTER.NAME": Change("MASKAdapterHead"),
    **{
        f"MODEL.MASK_ADAPTER.{name}": Change(value, given=_ADAPTER)
        for name, value in (
            ("MASK_IN_CHANNELS", 8),
            ("NUM_CHANNELS", 4),
            ("NUM_OUTPUT_MAPS", 4),
            ("USE_CHECKPOINT", True),
            ("MASK_THRESHOLD", 0.4),
            ("NUM_GT_MASKS", 4),
            ("NUM_PRED_MASKS", 4),
            ("IOU_THRESHOLD", 0.6),
            ("COS_WEIGHT", 1.0),
        )
    },
    "MODEL.MASK_ADAPTER.TRAIN_MAFT": Change(
        True, given={**_ADAPTER, "MODEL.META_ARCHITECTURE": "MASK_Adapter"}
    ),
    "MODEL.CDT.FORM": Change("semantic"),
    "MODEL.CDT.HEADS": Change(4, given=_CDT),
    "MODEL.CDT.EMBEDDING": Change("released", given=_CDT),
    "MODEL.STUDENT.ENABLED": Change(True),
    **{
        f"MODEL.STUDENT.{name}": Change(value, given=_STUDENT)
        for name, value in (
            ("LOGIT_SCALE", True),
            ("DROP_PATH", 0.1),
            ("DETACHED", True),
            ("CLASS_WEIGHT", 0.5),
            ("RANKING_WEIGHT", 0.5),
            ("COMPENSATION_WEIGHT", 0.5),
            ("GRAM_WEIGHT", 0.5),
        )
    },
    "MODEL.RELEASED_LOSSES": Change(True, given=_STUDENT),
    "TEST.ORACLE_MASKS": Change(True),
    "SOLVER.POLY_LR_POWER": Change(
        0.5, "trainer", given={"SOLVER.LR_SCHEDULER_NAME": "WarmupPolyLR"}
    ),
    "SOLVER.BACKBONE_MULTIPLIER": Change(0.5, "optimizer", given=_STUDENT),
}

# Keys of detectron2's own that our borders read.
DETECTRON2_CHANGES: dict[str, Change] = {
    "MODEL.META_ARCHITECTURE": Change("FrozenSeg", given={"MODEL.FROZEN_SEG.TEMPLATES": "simple"}),
    "MODEL.PIXEL_MEAN": Change([1.0, 2.0, 3.0]),
    "MODEL.PIXEL_STD": Change([4.0, 5.0, 6.0]),
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": Change(["res3", "res4", "res5"], refused=_STRIDES),
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": Change(64, refused=_AGREE),
    "MODEL.SEM_SEG_HEAD.NORM": Change("BN"),
    "TEST.DETECTIONS_PER_IMAGE": Change(3),
    "DATALOADER.SAMPLER_TRAIN": Change(
        "RepeatFactorTrainingSampler", "trainer", refused=r"DATALOADER\.REPEAT_THRESHOLD is 0"
    ),
    "DATASETS.TRAIN": Change((), refused="DATASETS.TRAIN"),
    "DATASETS.TEST": Change(("test_configs_seen",)),
    "INPUT.MIN_SIZE_TEST": Change(64, "test_mapper"),
    "INPUT.MAX_SIZE_TEST": Change(64, "test_mapper"),
    "SOLVER.BASE_LR": Change(0.3, "optimizer"),
    "SOLVER.WEIGHT_DECAY": Change(0.3, "optimizer"),
    "SOLVER.WEIGHT_DECAY_NORM": Change(0.3, "optimizer"),
    "SOLVER.WEIGHT_DECAY_BIAS": Change(0.3, "optimizer"),
    "SOLVER.CLIP_GRADIENTS.ENABLED": Change(True, "optimizer"),
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": Change("norm", "optimizer", given=_CLIPPED),
    "SOLVER.CLIP_GRADIENTS.CLIP_VALUE": Change(0.3, "optimizer", given=_CLIPPED),
    "SOLVER.CLIP_GRADIENTS.NORM_TYPE": Change(1.0, "optimizer", given=_CLIPPED),
}

TINY: dict[str, object] = {
    "MODEL.META_ARCHITECTURE": "FCCLIP",
    "MODEL.DEVICE": "cpu",
    "MODEL.BACKBONE.NAME": "CLIP",
    "MODEL.TEXT_CACHE_DIR": "/nowhere",
    "MODEL.PIXEL_STD": [68.0, 66.0, 70.0],
    "MODEL.SEM_SEG_HEAD.NAME": "FCCLIPHead",
    "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["res2", "res3", "res4", "res5"],
    "MODEL.SEM_SEG_HEAD.NUM_CLASSES": 2,
    "MODEL.SEM_SEG_HEAD.CONVS_DIM": 32,
    "MODEL.SEM_SEG_HEAD.MASK_DIM": 32,
    "MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS": 1,
    "MODEL.MASK_FORMER.HIDDEN_DIM": 32,
    "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES": 5,
    "MODEL.MASK_FORMER.DIM_FEEDFORWARD": 16,
    "MODEL.MASK_FORMER.DEC_LAYERS": 2,
    "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 32,
    "MODEL.FUSIONER.VISUAL": "vit.json",
    "MODEL.FUSIONER.VISUAL_WEIGHTS": "",
    "MODEL.FUSIONER.LANGUAGE": "clip.json",
    "MODEL.FUSIONER.LANGUAGE_WEIGHTS": "",
    "MODEL.FUSIONER.TEMPLATES": "simple",
    "MODEL.FUSIONER.WIDTH": 16,
    "MODEL.FUSIONER.LAYERS": 1,
    "MODEL.FUSIONER.HEADS": 2,
    "MODEL.FUSIONER.FEEDFORWARD": 8,
    "DATASETS.TRAIN": ("test_configs_seen",),
    "DATASETS.TEST": ("test_configs_all",),
}


def clip_json(dims: list[int]) -> str:
    """An open_clip config of a very small ConvNeXt CLIP."""
    name = f"convnext_test_configs_{dims[0]}"
    vision = {"timm_model_name": name, "timm_pool": "", "timm_proj": "mlp", "image_size": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1}
    trunk = {"depths": [1, 1, 1, 1], "dims": dims}
    return json.dumps(
        {"embed_dim": 8, "vision_cfg": vision, "text_cfg": text, "timm_convnext": trunk}
    )


def sam_json(width: int) -> str:
    """Sizes of a very small SAM."""
    encoder = {"image_size": 32, "patch_size": 8, "width": width, "depth": 1, "heads": 2}
    return json.dumps({**encoder, "decoder_width": 32, "decoder_heads": 2, "decoder_mlp": 8})


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """A YAML file of a very small model; its CLIP files lie beside it."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "clip.json").write_text(clip_json([4, 4, 8, 8]))
    (folder / "wider_clip.json").write_text(clip_json([8, 8, 8, 8]))
    (folder / "sam.json").write_text(sam_json(8))
    (folder / "wider_sam.json").write_text(sam_json(16))
    torch.manual_seed(7)
    save_file(load_sam(str(folder / "sam.json")).state_dict(), folder / "sam.safetensors")
    vit = {"img_size": 32, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 2}
    (folder / "vit.json").write_text(json.dumps({"timm_vit": {**vit, "num_classes": 0}}))
    trunk = VisionTransformer(**vit, num_classes=0)
    save_file(trunk.state_dict(), folder / "vit.safetensors")
    torch.save(load_clip(str(folder / "clip.json"), "").state_dict(), folder / "weights.pt")
    for name, words in WORDS.items():
        MetadataCatalog.get(name).vocabulary = Vocabulary.from_names(words)
        if name not in DatasetCatalog:
            DatasetCatalog.register(name, lambda: [{"file_name": "a.jpg"}])
    for registry, other in (
        (SEM_SEG_HEADS_REGISTRY, OtherPixelDecoder),
        (TRANSFORMER_DECODER_REGISTRY, OtherDecoder),
        (MASK_POOLING_REGISTRY, OtherPooling),
    ):
        if other.__name__ not in registry:
            registry.register(other)
    (folder / "tiny.yaml").write_text("{}")
    return folder / "tiny.yaml"


def build(tiny: Path, built: str, values: Mapping[str, object]) -> object:
    """One of the objects that `Change.built` names, from the tiny config with `values` on top."""
    files = {
        f"MODEL.{section}.{name}": value
        for section in ("FC_CLIP", "FROZEN_SEG")
        for name, value in (
            ("CLIP_MODEL_NAME", "clip.json"),
            ("CLIP_PRETRAINED_WEIGHTS", ""),
            ("EMBED_DIM", 8),
        )
    }
    values = {**TINY, **files, "MODEL.SAM_NAME": "sam.json", **values}
    for name, value in values.items():
        if isinstance(value, str) and (tiny.parent / value).is_file():
            values[name] = str(tiny.parent / value)
    cfg = load_config(tiny, [part for pair in values.items() for part in pair])
    torch.manual_seed(0)
    if built == "trainer":
        cfg.merge_from_list(["SEED", 0, "OUTPUT_DIR", str(tiny.parent / "output")])
        trainer = Trainer(cfg)
        trainer._hooks = trainer._hooks[1:]  # the first one keeps the time
        return trainer
    if built in ("train_mapper", "test_mapper"):
        return build_mapper(cfg, is_train=built == "train_mapper")
    if built == "prediction_writers":
        name = "test_configs_all"
        row = DatasetSplit(name, name, "val", ("semantic",), ";".join(WORDS[name]), "images")
        plan = Plan(cfg, row, None, {"dataset": name})
        return prediction_writers(tiny.parent, plan, [], ["semantic"])
    if built == "per_image_writers":
        row = DatasetSplit("any", "any", "val", ("semantic",), "", "images")
        plan = Plan(cfg, row, None, {"dataset": "any"})
        return per_image_writers(tiny.parent, plan, [])
    if built == "diagnosis":
        return diagnosis_evaluators(cfg, None, [], Vocabulary.parse("cat"))
    architecture = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)
    model = architecture(**architecture.from_config(cfg))
    return build_optimizer(cfg, model) if built == "optimizer" else model


def fingerprint(thing: object) -> dict[str, str]:
    """Everything that can be seen of an object, as path -> text; configs in it are left out."""
    return dict(_walk(thing, "", set()))


def _walk(thing: Any, path: str, seen: set[int]) -> Iterator[tuple[str, str]]:
    if isinstance(thing, (bool, int, float, str, Path, type(None), torch.dtype, torch.device)):
        yield path, repr(thing)
        return
    if isinstance(thing, np.ndarray):
        yield path, f"{thing.shape} {hashlib.sha1(thing.tobytes()).hexdigest()}"
        return
    if id(thing) in seen or isinstance(thing, CfgNode):
        return
    seen.add(id(thing))
    if isinstance(thing, Tensor):
        content = hashlib.sha1(thing.detach().contiguous().numpy().tobytes()).hexdigest()
        yield path, f"{tuple(thing.shape)} {thing.dtype} {thing.requires_grad} {content}"
        return
    yield f"{path}:type", f"{type(thing).__module__}.{type(thing).__qualname__}"
    for name, part in _parts(thing):
        yield from _walk(part, f"{path}.{name}", seen)


def _parts(thing: Any) -> list[tuple[object, Any]]:
    if isinstance(thing, Mapping):
        return list(thing.items())
    if isinstance(thing, (list, tuple)):
        return list(enumerate(thing))
    if isinstance(thing, functools.partial):
        return [("func", thing.func), ("args", thing.args), ("keywords", thing.keywords)]
    if isinstance(thing, types.MethodType):
        return [("self", thing.__self__)]
    if getattr(thing, "__closure__", None):
        return [(f"closure{i}", cell.cell_contents) for i, cell in enumerate(thing.__closure__)]
    ours = type(thing).__module__.split(".")[0] in (
        *("frozenseg", "detectron2", "fvcore", "torch", "segment_anything"),
    )
    if ours or isinstance(thing, nn.Module):
        return list(getattr(thing, "__dict__", {}).items())
    return []


def check(tiny: Path, key: str, changes: Mapping[str, Change]) -> None:
    """Fails unless changing `key` changes what is built."""
    assert key in changes, f"{key} has no row in CHANGES: say what changes with it"
    change = changes[key]
    before = build(tiny, change.built, change.given)
    values = {**change.given, key: change.value}
    if change.refused:
        with pytest.raises(ValueError, match=change.refused):
            build(tiny, change.built, values)
        return
    after = build(tiny, change.built, values)
    assert fingerprint(after) != fingerprint(before), f"changing {key} changed nothing"


@pytest.mark.slow
@pytest.mark.parametrize("key", [key.name for key in KEYS])
def test_every_key_of_the_table_has_an_effect(key, tiny):
    check(tiny, key, CHANGES)


@pytest.mark.slow
@pytest.mark.parametrize("key", DETECTRON2_CHANGES)
def test_the_keys_of_detectron2_that_we_read_have_an_effect(key, tiny):
    check(tiny, key, DETECTRON2_CHANGES)


@pytest.mark.slow
@pytest.mark.parametrize("section", ["MODEL.FC_CLIP", "INPUT", "SOLVER"])
def test_a_key_that_nothing_reads_is_caught(section, tiny, monkeypatch):
    fake = Key(f"{section}.NEVER_READ", 1, "a key that no border reads")
    monkeypatch.setattr(config, "KEYS", (*KEYS, fake))
    with pytest.raises(AssertionError, match="has no row in CHANGES"):
        check(tiny, fake.name, CHANGES)
    for built in ("model", "train_mapper", "test_mapper", "optimizer", "trainer"):
        with pytest.raises(AssertionError, match="changed nothing"):
            check(tiny, fake.name, {fake.name: Change(2, built)})


# Keys of detectron2's own with an effect elsewhere: in its schedule, registries and the engine.
READ_ELSEWHERE = {
    *("MODEL.DEVICE", "MODEL.WEIGHTS", "MODEL.BACKBONE.NAME", "MODEL.SEM_SEG_HEAD.NAME"),
    *("OUTPUT_DIR", "SEED", "TEST.EVAL_PERIOD", "DATALOADER.NUM_WORKERS"),
    *("DATALOADER.FILTER_EMPTY_ANNOTATIONS", "DATALOADER.REPEAT_THRESHOLD"),
    *("SOLVER.AMP.ENABLED", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.IMS_PER_BATCH"),
    *("SOLVER.REFERENCE_WORLD_SIZE", "SOLVER.LR_SCHEDULER_NAME", "SOLVER.MAX_ITER"),
    *("SOLVER.GAMMA", "SOLVER.STEPS", "SOLVER.MOMENTUM", "SOLVER.NESTEROV"),
    *("SOLVER.WARMUP_FACTOR", "SOLVER.WARMUP_ITERS", "SOLVER.WARMUP_METHOD"),
}


def test_every_other_key_of_detectron2_is_listed_as_having_no_effect():
    names = {name for name, _ in flatten(get_config())}
    assert names >= READ_ELSEWHERE
    with_effect = set(CHANGES) | set(DETECTRON2_CHANGES) | READ_ELSEWHERE
    listed = {name for name in names if legacy_row(name)}
    assert names - with_effect == listed


def test_no_row_outlives_its_key():
    assert set(CHANGES) == {key.name for key in KEYS}


def all_configs() -> list[Path]:
    return sorted(CONFIGS.rglob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("path", all_configs(), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_yaml_merges_without_keys_that_have_no_effect(path, caplog):
    cfg = load_config(path)
    assert caplog.records == []
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        find_split(name)


@pytest.mark.parametrize(
    ("folder", "paper"),
    [
        ("fcclip", "arXiv:2308.02487"),
        ("frozenseg", "arXiv:2409.03525"),
        ("fusioner", "arXiv:2210.15138"),
        ("mask_adapter", "arXiv:2412.04533"),
        ("maftplus", "arXiv:2408.00744"),
        ("ovrcoat", "arXiv:2603.21386"),
    ],
)
def test_every_model_states_paper_command_cost_and_expected_score(folder, paper):
    for path in CONFIGS.glob(f"{folder}/*.yaml"):
        header = path.read_text(encoding="utf-8").split("_BASE_")[0]
        assert all(line.startswith("#") for line in header.splitlines())
        for word in (paper, f"configs/{folder}/{path.name}", "Cost:", "Expected scores"):
            assert word in header, path


# Config -> list of released names; the released SAM branch has three levels' parameters.
RELEASED = {
    **{f"fcclip/{n}": f"fcclip_{n}" for n in ("r50", "r101", "r50x4", "r50x64", "convnext_large")},
    "frozenseg/released_convnext_large": "frozenseg_convnext_large_vit_b",
    **{
        f"frozenseg/convnext_large_{sam}": f"frozenseg_convnext_large_{sam}"
        for sam in ("vit_l", "vit_h", "vit_t")
    },
}


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.parametrize("name", RELEASED)
def test_full_size_models_have_exactly_the_released_parameters(name, shared_dir):
    register_splits()
    names_file = shared_dir / "state_dict_keys" / f"{RELEASED[name]}.json"
    expected = json.loads(names_file.read_text())
    opts = ["MODEL.DEVICE", "meta", "MODEL.SAM_BRANCH", "released"]
    model = build_model(load_config(CONFIGS / f"{name}.yaml", opts))
    found = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert found == {key: entry["shape"] for key, entry in expected.items()}
    trainable = {key for key, value in model.named_parameters() if value.requires_grad}
    assert trainable == {key for key, entry in expected.items() if entry["kind"] == "trainable"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "channels"), [("fcclip/r50x16", 768), ("frozenseg/released_r50x64", 1024)]
)
def test_a_config_without_released_key_list_builds_too(name, channels):
    register_splits()
    model = build_model(load_config(CONFIGS / f"{name}.yaml", ["MODEL.DEVICE", "meta"]))
    assert model.void_embedding.weight.shape == (1, channels)


@pytest.mark.slow
def test_new_training_has_a_sound_sam_branch():
    cfg = load_config(CONFIGS / "frozenseg" / "convnext_large.yaml", ["MODEL.DEVICE", "meta"])
    register_splits()
    assert build_model(cfg).sem_seg_head.pixel_decoder.sam_transformer.level_embed.shape[0] == 1
