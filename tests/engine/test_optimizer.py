"""Parameter groups, and clipping of the whole gradient."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from frozenseg.config import get_config
from frozenseg.engine.optimizer import build_optimizer, clip_full_model, parameter_groups
from tests.shapes_world import register_shapes


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Linear(2, 2).requires_grad_(False)
        self.linear = nn.Linear(2, 2)
        self.shared = self.linear
        self.norm = nn.LayerNorm(2)
        self.group_norm = nn.GroupNorm(1, 2)
        self.batch_norm = nn.SyncBatchNorm(2)
        self.query_feat = nn.Embedding(3, 2)
        self.logit_scale = nn.Parameter(torch.ones([]))
        self.level_embed = nn.Parameter(torch.ones(3, 2))


def decay_by_name(model, groups):
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {names[p]: group["weight_decay"] for group in groups for p in group["params"]}


def test_norms_and_embeddings_do_not_decay_and_bare_parameters_do():
    model = Toy()
    decay = decay_by_name(model, parameter_groups(model, weight_decay=0.05))
    assert decay == {
        "linear.weight": 0.05,
        "linear.bias": 0.05,
        "logit_scale": 0.05,
        "level_embed": 0.05,
        "norm.weight": 0,
        "norm.bias": 0,
        "group_norm.weight": 0,
        "group_norm.bias": 0,
        "batch_norm.weight": 0,
        "batch_norm.bias": 0,
        "query_feat.weight": 0,
    }


def test_every_trainable_parameter_is_in_exactly_one_group():
    model = Toy()
    groups = parameter_groups(
        model, weight_decay=0.1, weight_decay_norm=0.2, weight_decay_embed=0.3
    )
    listed = [p for group in groups for p in group["params"]]
    assert len(listed) == len(set(listed)) == sum(p.requires_grad for p in model.parameters())
    assert sorted(group["weight_decay"] for group in groups) == [0.1, 0.2, 0.3]


def test_a_frozen_model_cannot_be_trained():
    with pytest.raises(ValueError, match="no trainable parameter"):
        parameter_groups(nn.Linear(1, 1).requires_grad_(False), weight_decay=0)


@pytest.mark.parametrize("norm_type", [2.0, 1.0, float("inf")])
def test_the_whole_gradient_is_scaled_to_the_norm(norm_type):
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(2, 2))]
    optimizer = torch.optim.SGD(
        [{"params": parameters[:1]}, {"params": parameters[1:], "weight_decay": 0.0}], lr=1.0
    )
    clip_full_model(optimizer, 0.01, norm_type)
    gradients = [torch.tensor([3.0, 0, 1]), torch.tensor([[4.0, -2], [0, 5]])]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    optimizer.step()
    whole = torch.cat([gradient.flatten() for gradient in gradients])
    moved = -torch.cat([parameter.detach().flatten() for parameter in parameters])
    torch.testing.assert_close(moved, whole * 0.01 / whole.norm(norm_type), rtol=1e-4, atol=0)


def test_small_gradients_stay_as_they_are():
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    clip_full_model(optimizer, 1.0, 2.0)
    parameter.grad = torch.tensor([0.3, -0.4])
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.3, 0.4]))


def test_clipping_comes_after_the_grad_scaler_unscales():
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    clip_full_model(optimizer, 1.0, 2.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale((parameter * torch.tensor([0.3, -0.4])).sum()).backward()
    scaler.step(optimizer)
    torch.testing.assert_close(parameter.detach(), torch.tensor([-0.3, 0.4]))


def test_the_config_decides():
    cfg = get_config()
    cfg.SOLVER.merge_from_list(["BASE_LR", 0.25, "WEIGHT_DECAY", 0.05, "WEIGHT_DECAY_EMBED", 0.5])
    optimizer = build_optimizer(cfg, Toy())
    assert isinstance(optimizer, torch.optim.AdamW)
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.05, 0.0, 0.5}
    cfg.SOLVER.OPTIMIZER = "SGD"
    cfg.SOLVER.MOMENTUM = 0.75
    assert build_optimizer(cfg, Toy()).param_groups[0]["momentum"] == 0.75
    cfg.SOLVER.OPTIMIZER = "LION"
    with pytest.raises(ValueError, match=r"'LION'.*'ADAMW', 'SGD'"):
        build_optimizer(cfg, Toy())


@pytest.mark.parametrize(("kind", "moved"), [("full_model", 0.01), ("value", 0.01), (None, 1.0)])
def test_the_config_switches_clipping(kind, moved):
    cfg = get_config()
    cfg.SOLVER.merge_from_list(["OPTIMIZER", "SGD", "BASE_LR", 1.0, "MOMENTUM", 0.0])
    cfg.SOLVER.merge_from_list(["WEIGHT_DECAY", 0.0])
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clip.ENABLED, clip.CLIP_VALUE = kind is not None, 0.01
    clip.CLIP_TYPE = kind or "value"
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    optimizer = build_optimizer(cfg, model)
    model.weight.grad = torch.ones_like(model.weight)
    optimizer.step()
    assert model.weight.item() == pytest.approx(-moved, rel=1e-3)
    if kind == "full_model":
        clip.CLIP_VALUE = 0.0
        with pytest.raises(ValueError, match="CLIP_VALUE"):
            build_optimizer(cfg, model)


def test_the_groups_of_the_real_model(shapes_root):
    """Which of its parameters decay (spec, section 5)."""
    from detectron2.modeling import build_model

    import frozenseg.mask_classification.model  # noqa: F401  registers the architecture
    from frozenseg.config import load_config

    register_shapes(shapes_root)
    config = Path(__file__).parents[1] / "shapes_fcclip.yaml"
    model = build_model(load_config(config, ["MODEL.DEVICE", "cpu"]))
    groups = build_optimizer(load_config(config), model).param_groups
    decay = decay_by_name(model, groups)
    assert set(decay.values()) == {0.05, 0.0}
    assert not any(name.startswith("backbone.") for name in decay)
    for name in (
        "sem_seg_head.predictor.logit_scale",
        "sem_seg_head.pixel_decoder.transformer.level_embed",
        "sem_seg_head.predictor.mask_embed.layers.0.bias",
    ):
        assert decay[name] == 0.05, name
    no_decay = {name for name, value in decay.items() if value == 0}
    embeddings = {"void_embedding.weight"} | {
        f"sem_seg_head.predictor.{name}.weight"
        for name in ("query_feat", "query_embed", "level_embed")
    }
    assert embeddings <= no_decay
    norm = re.compile(r"norm|input_proj\.\d\.1\.|_mask_pooling_proj\.0\.")
    assert all(norm.search(name) for name in no_decay - embeddings)
    assert not any(norm.search(name) for name in set(decay) - no_decay)
