"""Files with the released names and sizes load through the same door as our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import frozenseg.mask_classification.model  # noqa: F401  (registers the architecture)
from frozenseg.checkpoints.loading import load_weights
from frozenseg.config import load_config
from frozenseg.data.catalog.register import register_splits
from tests.mask_classification.conftest import GOLDEN, build_golden_model

CONFIGS = Path(__file__).parents[2] / "configs" / "fcclip"

pytestmark = pytest.mark.golden


@pytest.fixture(params=GOLDEN)
def golden(request, golden_dir):
    """The folder of a golden model."""
    return golden_dir / request.param


@pytest.mark.slow
def test_the_golden_file_brings_all_weights_of_a_model_of_other_values(golden, tmp_path):
    path = golden / "state_dict.pt"
    model = build_golden_model(golden, tmp_path)
    for value in model.state_dict().values():
        value.fill_(3)
    encoders = {"backbone.": "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS"}
    report = load_weights(model, path, encoders_without_weights=encoders)
    expected = torch.load(path, weights_only=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert (report.skipped, report.ignored) == ((), ())
    frozen = {name for name in expected if name.startswith(("backbone.", "sam."))}
    assert set(report.frozen) == frozen
    assert set(report.changed) == frozen
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert set(report.loaded) - trained == {"criterion.empty_weight"}
    assert trained <= set(report.loaded)


@pytest.mark.slow
def test_the_golden_file_without_a_part_of_clip_is_refused(golden, tmp_path):
    state = torch.load(golden / "state_dict.pt", weights_only=True)
    name = "backbone.clip_model.visual.trunk.stem.0.weight"
    del state[name]
    torch.save(state, tmp_path / "cut.pth")
    model = build_golden_model(golden, tmp_path)
    with pytest.raises(ValueError, match=rf"1 names missing \({name}\)"):
        load_weights(model, tmp_path / "cut.pth")


@pytest.fixture(scope="module")
def full_size():
    """The model of FC-CLIP R50: names and shapes without weights."""
    register_splits()
    return build_model(load_config(CONFIGS / "r50.yaml", ["MODEL.DEVICE", "meta"]))


@pytest.fixture
def released(shared_dir):
    """Tensors of the released names and sizes, each with the memory of one number."""
    keys = json.loads((shared_dir / "state_dict_keys" / "fcclip_r50.json").read_text())
    return keys, {
        name: torch.zeros((), dtype=getattr(torch, key["dtype"])).expand(key["shape"])
        for name, key in keys.items()
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter")
def test_a_full_size_file_fits_by_names_and_shapes(full_size, released, tmp_path):
    keys, state = released
    torch.save({"model": state}, tmp_path / "fcclip_r50.pth")
    report = load_weights(full_size, tmp_path / "fcclip_r50.pth")
    assert {*report.loaded, *report.frozen} == set(keys)
    assert {name for name in keys if keys[name]["kind"] == "trainable"} <= set(report.loaded)
    assert {name for name in keys if keys[name]["kind"] == "frozen"} <= set(report.frozen)
    assert (report.skipped, report.ignored) == ((), ())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("backbone.clip_model.visual.conv1.weight", "CLIP_MODEL_NAME"),
        ("sem_seg_head.predictor.query_feat.weight", "NUM_OBJECT_QUERIES"),
    ],
)
def test_one_wrong_size_in_a_full_size_file_is_named(full_size, released, tmp_path, name, key):
    _, state = released
    state[name] = torch.zeros(1).expand(7, *state[name].shape[1:])
    torch.save({"model": state}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"{name} has shape \(7, .*{key}"):
        load_weights(full_size, tmp_path / "w.pth")
