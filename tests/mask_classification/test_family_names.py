"""Names, shapes and kinds of the full-size descendants, and files in every layout, on `meta`."""

from __future__ import annotations

import json

import pytest
import torch

from frozenseg.build import build_model, family
from frozenseg.checkpoints.loading import TEACHER_PREFIXES, load_state
from frozenseg.config import load_config

# File of state_dict_keys -> config, and keys beyond it.
FILES = {
    "mask_adapter_fcclip_convnext_large": ("mask_adapter/fcclip_convnext_large.yaml", ()),
    "mask_adapter_maftplus_convnext_base": ("mask_adapter/maftplus_convnext_base.yaml", ()),
    "mask_adapter_maftplus_convnext_large": ("mask_adapter/maftplus_convnext_large.yaml", ()),
    "maftplus_convnext_base": ("maftplus/released_convnext_base.yaml", ()),
    "maftplus_convnext_large": ("maftplus/released_convnext_large.yaml", ()),
    "maftplus_convnext_large_panoptic": ("maftplus/released_convnext_large_panoptic.yaml", ()),
    "ovrcoat_convnext_large": (
        "ovrcoat/convnext_large.yaml",
        ("MODEL.STUDENT.LOGIT_SCALE", "True"),
    ),
    "mask_adapter_ground_truth_stage_fcclip_large": (
        "mask_adapter/fcclip_convnext_large_warm_up.yaml",
        (),
    ),
    "mask_adapter_ground_truth_stage_maftplus_base": (
        "mask_adapter/maftplus_convnext_base.yaml",
        ("MODEL.META_ARCHITECTURE", "MASK_Adapter"),
    ),
}


@pytest.fixture(scope="module", params=FILES)
def case(request, shared_dir):
    """The model on `meta`, its config, and what the released one holds."""
    path, opts = FILES[request.param]
    cfg = load_config(path, [*opts, "MODEL.DEVICE", "meta", "MODEL.WEIGHTS", ""])
    cfg.DATASETS.TEST = ()
    text = (shared_dir / "state_dict_keys" / f"{request.param}.json").read_text()
    from frozenseg.data.catalog.register import register_datasets

    register_datasets(cfg)
    return build_model(cfg), cfg, json.loads(text)


@pytest.mark.golden
def test_names_shapes_and_what_trains(case):
    model, _, keys = case
    expected = {n: tuple(v["shape"]) for n, v in keys.items() if v["kind"] != "teacher"}
    assert {n: tuple(v.shape) for n, v in model.state_dict().items()} == expected
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {n for n, v in keys.items() if v["kind"] == "trainable"}


@pytest.mark.golden
@pytest.mark.parametrize("with_teacher", [True, False])
def test_files_with_and_without_teacher_load(case, with_teacher):
    model, cfg, keys = case
    state = {
        name: torch.empty(row["shape"], device="meta", dtype=getattr(torch, row["dtype"]))
        for name, row in keys.items()
        if with_teacher or not name.startswith((*TEACHER_PREFIXES, "criterion."))
    }
    report = load_state(model, state, "file", family(cfg).encoders_without_weights(cfg))
    assert all(name.startswith(TEACHER_PREFIXES) for name in report.ignored)
    for lost in ("backbone.clip_model.visual.trunk.stem.0.weight", "void_embedding.weight"):
        with pytest.raises(ValueError, match=lost):
            load_state(model, {n: v for n, v in state.items() if n != lost}, "file")
    if cfg.MODEL.META_ARCHITECTURE in ("MAFT_Plus", "OVRCOAT"):
        rest = {n: v for n, v in state.items() if not n.startswith("backbone.")}
        with pytest.raises(ValueError, match=r"CLIP was trained too"):
            load_state(model, rest, "file", family(cfg).encoders_without_weights(cfg))
