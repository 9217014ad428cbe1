"""Mask-Adapter, MAFT+ and OVRCOAT in miniature: exact resume, and files with all they need."""

from __future__ import annotations

import logging

import pytest
import torch

from frozenseg.build import load_model
from frozenseg.checkpoints.join import join_adapter
from frozenseg.checkpoints.lookup import locate
from frozenseg.checkpoints.reading import read_state_dict
from frozenseg.config import load_config
from frozenseg.engine.trainer import Trainer
from tests.engine.test_miniature_training import CONFIGS, world
from tests.engine.test_trainer import train

__all__ = ["world"]
pytestmark = pytest.mark.slow

_STUDENT = {"MODEL.STUDENT.ENABLED": True, "SOLVER.BASE_LR": 0.0005}
MODELS = {
    "warm_up": ("mask_adapter_warm_up", {}),
    "adapter": ("mask_adapter", {"MODEL.INIT_FROM": "miniature-fcclip"}),
    "maft_plus": (
        "fcclip",
        {
            **_STUDENT,
            "MODEL.META_ARCHITECTURE": "MAFT_Plus",
            "MODEL.CDT.FORM": "panoptic",
            "MODEL.STUDENT.DETACHED": True,
            "MODEL.STUDENT.DROP_PATH": 0.1,
            "MODEL.STUDENT.RANKING_WEIGHT": 1.0,
            "MODEL.STUDENT.COMPENSATION_WEIGHT": 0.1,
        },
    ),
    "ovrcoat": (
        "fcclip",
        {
            **_STUDENT,
            "MODEL.META_ARCHITECTURE": "OVRCOAT",
            "MODEL.STUDENT.LOGIT_SCALE": True,
            "MODEL.STUDENT.CLASS_WEIGHT": 0.1,
            "MODEL.STUDENT.GRAM_WEIGHT": 0.02,
        },
    ),
}
STEM = "backbone.clip_model.visual.trunk.stem.0.weight"


def settings(name, folder, **more):
    """The config of a run of 5 iterations with checkpoints after 2 and 4."""
    model, own = MODELS[name]
    opts = {
        "OUTPUT_DIR": folder / name,
        "MODEL.TEXT_CACHE_DIR": folder / "text",
        "MODEL.DEVICE": "cpu",
        "DATASETS.TEST": "()",
        "INPUT.IMAGE_SIZE": 128,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 5,
        "SOLVER.STEPS": "(4,)",
        "SOLVER.WARMUP_ITERS": 2,
        "SOLVER.CHECKPOINT_PERIOD": 2,
        "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 256,
        **own,
        **more,
    }
    cfg = load_config(CONFIGS / f"{model}.yaml", [str(w) for pair in opts.items() for w in pair])
    if cfg.MODEL.INIT_FROM == "miniature-fcclip":
        cfg.MODEL.INIT_FROM = str(locate("miniature-fcclip"))
    return cfg


@pytest.mark.parametrize("name", MODELS)
def test_a_resumed_run_continues_exactly_and_its_file_is_the_model(name, tmp_path):
    cfg = settings(name, tmp_path)
    straight, losses = train(cfg)
    broken = settings(name, tmp_path, OUTPUT_DIR=tmp_path / "broken")
    _, before = train(broken, stop_after=3)
    resumed, after = train(broken, resume=True)
    assert min(after) == 2
    assert {**before, **after} == losses
    trained = dict(resumed.model.named_parameters())
    for parameter, value in straight.model.named_parameters():
        assert torch.equal(value, trained[parameter]), parameter
    file = tmp_path / name / "model_final.pth"
    saved = read_state_dict(file)
    assert not any(key.startswith(("backbone_t.", "frozen_backbone.")) for key in saved)
    assert (STEM in saved) == cfg.MODEL.STUDENT.ENABLED
    again, _ = load_model(cfg, file)
    for key, value in again.state_dict().items():
        assert torch.equal(value, straight.model.state_dict()[key]), key


@pytest.mark.parametrize("name", ["maft_plus", "ovrcoat"])
def test_clip_trains_at_its_own_rate_and_its_average_is_saved(name, tmp_path):
    cfg = settings(name, tmp_path, **{"SOLVER.EMA_DECAY": 0.5, "SOLVER.MAX_ITER": 2})
    public = Trainer(cfg).model.state_dict()[STEM].clone()
    trainer, _ = train(cfg)
    own = trainer.model.state_dict()[STEM]
    averaged = read_state_dict(tmp_path / name / "model_final_ema.pth")[STEM]
    assert not torch.equal(own, public)
    assert not torch.equal(averaged, own)
    assert not torch.equal(averaged, public)
    rates = {group["lr"] for group in trainer.optimizer.param_groups}
    assert max(rates) == pytest.approx(10 * min(rates))
    saved = read_state_dict(tmp_path / name / "model_final.pth")
    torch.save({k: v for k, v in saved.items() if "backbone" not in k}, tmp_path / "less.pth")
    with pytest.raises(ValueError, match=r"holds no backbone\.\* weights, and its CLIP was train"):
        load_model(cfg, tmp_path / "less.pth")


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_may_be_computed_in_parts(name, tmp_path):
    _, losses = train(settings(name, tmp_path, **{"SOLVER.ACCUMULATION_STEPS": 2}))
    assert len(losses) == 5


def test_a_second_stage_needs_a_decoder(tmp_path):
    trainer = Trainer(settings("adapter", tmp_path, **{"MODEL.INIT_FROM": ""}))
    with pytest.raises(ValueError, match=r"INIT_FROM and MODEL\.WEIGHTS are empty, but sem_seg_he"):
        trainer.resume_or_load(resume=False)
    with pytest.raises(ValueError, match=r"but sem_seg_head does not train"):
        trainer.resume_or_load(resume=True)


def test_an_adapter_on_content_dependent_text_needs_its_weights(tmp_path, caplog):
    maft = settings("maft_plus", tmp_path, **{"SOLVER.MAX_ITER": 1, "SOLVER.STEPS": "()"})
    student, _ = train(maft)
    text = {"MODEL.CDT.FORM": "panoptic", "MODEL.STUDENT.ENABLED": False}
    alone = settings("warm_up", tmp_path, **text)
    with pytest.raises(ValueError, match="but cdt does not train here"):
        Trainer(alone).resume_or_load(resume=False)
    start = {**text, "MODEL.INIT_FROM": locate("miniature-fcclip")}
    trainer = Trainer(settings("warm_up", tmp_path, **start))
    with pytest.raises(ValueError, match=r"holds no backbone\.\* weights, and its CLIP was"):
        trainer.resume_or_load(resume=False)
    file = tmp_path / "maft_plus" / "model_final.pth"
    caplog.set_level(logging.INFO, "frozenseg")
    trainer = Trainer(settings("warm_up", tmp_path, **text, **{"MODEL.INIT_FROM": file}))
    trainer.resume_or_load(resume=False)
    state = trainer.model.state_dict()
    for name in (STEM, "cdt.cross_atten.MLP.weight", "void_embedding.weight"):
        assert torch.equal(state[name], student.model.state_dict()[name]), name
    assert "43 keep their initial values (mask_adapter." in caplog.text


def test_the_stages_are_joined(tmp_path, caplog):
    train(settings("warm_up", tmp_path, **{"SOLVER.MAX_ITER": 1, "SOLVER.STEPS": "()"}))
    target = tmp_path / "joined.safetensors"
    file = tmp_path / "warm_up" / "model_final.pth"
    join_adapter(file, locate("miniature-fcclip"), target)
    trainer = Trainer(settings("adapter", tmp_path, **{"MODEL.INIT_FROM": target}))
    caplog.set_level(logging.INFO, "frozenseg")
    trainer.resume_or_load(resume=False)
    assert "0 keep their initial values" in caplog.text
    own, first = trainer.model.state_dict(), read_state_dict(file)
    assert torch.equal(own["mask_adapter.fuse.weight"], first["mask_adapter.fuse.weight"])


@pytest.mark.parametrize(
    ("has", "lacks", "message"),
    [
        ("adapter", "fcclip", "has a Mask-Adapter .MODEL.MASK_ADAPTER.NAME MASKAdapterHead., whic"),
        ("fcclip", "adapter", "lacks a Mask-Adapter .*, which the config has"),
        ("maft_plus", "fcclip", r"has MAFT\+'s content-dependent text .*which the config lacks"),
    ],
)
def test_a_part_too_many_or_too_few_is_one_line_with_the_remedy(has, lacks, message, tmp_path):
    if has == "fcclip":
        file = locate("miniature-fcclip")
    else:
        cfg = settings(has, tmp_path, **{"SOLVER.MAX_ITER": 1, "SOLVER.STEPS": "()"})
        train(cfg)
        file = tmp_path / has / "model_final.pth"
    other = settings("adapter", tmp_path) if lacks == "adapter" else None
    cfg = other or load_config(CONFIGS / "fcclip.yaml", ["MODEL.DEVICE", "cpu"])
    with pytest.raises(ValueError, match=message) as error:
        load_model(cfg, file)
    assert "\n" not in str(error.value)
