"""Starting FrozenSeg from FC-CLIP's weights, and from weights for other classes."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from torch import nn

from frozenseg.checkpoints.initial_weights import SAM_PARTS, load_initial_weights
from frozenseg.checkpoints.loading import load_weights
from frozenseg.engine.checkpointer import Checkpointer
from tools.record_reference import build_reference_model

BRANCHES = ("single_level", "released", "first_level")


@pytest.fixture(scope="module")
def fcclip(tmp_path_factory):
    """A file of FC-CLIP as the authors release it, with CLIP; weights unlike FrozenSeg's."""
    folder = tmp_path_factory.mktemp("fcclip")
    model = build_reference_model("convnext", folder)
    state = model.state_dict()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            state[name] = parameter.detach() + 1
    torch.save({"model": state}, folder / "fcclip.pth")
    return folder / "fcclip.pth"


def frozenseg(tmp_path, branch="single_level"):
    return build_reference_model("frozenseg", tmp_path, "MODEL.SAM_BRANCH", branch)


def trained(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def edited(path, tmp_path, edit):
    state = torch.load(path, weights_only=True)["model"]
    edit(state)
    torch.save({"model": state}, tmp_path / "edited.pth")
    return tmp_path / "edited.pth"


@pytest.mark.slow
@pytest.mark.parametrize("branch", BRANCHES)
def test_all_of_fcclip_is_loaded_and_only_the_sam_parts_keep_their_values(branch, fcclip, tmp_path):
    model = frozenseg(tmp_path, branch)
    before, file = trained(model), torch.load(fcclip, weights_only=True)["model"]
    report = load_initial_weights(model, fcclip)
    after = trained(model)
    own = {name for name in after if name.startswith(SAM_PARTS)}
    assert own == set(report.initial)
    assert {name.split(".")[2] for name in own} == {
        *("sam_transformer", "fpn3", "transformer_cross_attention_layers_sam")
    }
    for name, value in after.items():
        assert torch.equal(value, before[name] if name in own else file[name]), name
    assert set(report.loaded) == set(after) - own
    assert report.unused == ("criterion.empty_weight",)
    assert not report.changed


@pytest.mark.slow
def test_weights_of_a_diverged_training_are_refused_and_change_nothing(fcclip, tmp_path):
    def spoil(state):
        name = next(name for name in state if name.endswith("linear1.weight"))
        state[name] = state[name].clone()
        state[name][0, 0] = float("nan")

    model = frozenseg(tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"linear1\.weight has 1 NaN or infinite of"):
        load_initial_weights(model, edited(fcclip, tmp_path, spoil))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.slow
def test_the_strict_way_refuses_the_same_file(fcclip, tmp_path):
    with pytest.raises(ValueError, match=r"names missing.*fpn3.*MODEL\.INIT_FROM"):
        load_weights(frozenseg(tmp_path), fcclip)


@pytest.mark.golden
def test_the_released_files_differ_in_exactly_these_parts(shared_dir):
    fcclip, frozen = (
        json.loads((shared_dir / "state_dict_keys" / f"{name}.json").read_text())
        for name in ("fcclip_convnext_large", "frozenseg_convnext_large_vit_b")
    )
    more = set(frozen) - set(fcclip)
    assert set(fcclip) <= set(frozen)
    assert more == {name for name in frozen if name.startswith((*SAM_PARTS, "sam."))}


@pytest.mark.slow
def test_the_log_says_what_was_loaded_what_not_and_that_the_encoders_agree(
    fcclip, tmp_path, caplog
):
    model = frozenseg(tmp_path)
    with caplog.at_level(logging.INFO):
        checkpointer = Checkpointer(model, str(tmp_path), init_from=str(fcclip))
        checkpointer.resume_or_load("", resume=False)
    (record,) = caplog.records[-1:]
    assert record.levelno == logging.INFO
    text = record.getMessage()
    count = sum(name.startswith(SAM_PARTS) for name in trained(model))
    assert f"{len(trained(model)) - count} trained weights loaded (sem_seg_head.pixel_dec" in text
    assert f"{count} keep their initial values" in text
    for name in trained(model):
        assert (name in text) == name.startswith(SAM_PARTS)
    assert "not used: criterion.empty_weight" in text
    assert "equal the config's" in text
    assert not checkpointer.save_frozen


@pytest.mark.slow
def test_another_clip_in_the_file_is_a_warning_and_is_saved_from_then_on(fcclip, tmp_path, caplog):
    name = next(n for n in torch.load(fcclip, weights_only=True)["model"] if "backbone" in n)
    other = edited(fcclip, tmp_path, lambda state: state[name].add_(1))
    checkpointer = Checkpointer(frozenseg(tmp_path), str(tmp_path), init_from=str(other))
    checkpointer.resume_or_load("", resume=False)
    assert caplog.records[-1].levelno == logging.WARNING
    assert "DIFFER from the config's in 1 weights" in caplog.text
    assert checkpointer.save_frozen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda s: s.pop("void_embedding.weight"), r"missing \(void_embedding\.weight\)"),
        (lambda s: s.update(more=torch.ones(1)), r"unexpected names \(more\)"),
        (
            lambda s: s.update({"sem_seg_head.pixel_decoder.fpn3.0.bias": torch.ones(1)}),
            r"missing \(sem_seg_head\.pixel_decoder\.fpn3\.0\.weight",
        ),
        (
            lambda s: s.update({"sem_seg_head.predictor.query_feat.weight": torch.ones(3, 32)}),
            "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES",
        ),
    ],
)
def test_everything_else_must_fit_and_an_error_changes_nothing(edit, message, fcclip, tmp_path):
    model = frozenseg(tmp_path)
    before = trained(model)
    with pytest.raises(ValueError, match=message):
        load_initial_weights(model, edited(fcclip, tmp_path, edit))
    assert all(torch.equal(value, before[name]) for name, value in trained(model).items())


@pytest.mark.slow
def test_fcclip_does_not_start_from_frozenseg(tmp_path):
    torch.save(frozenseg(tmp_path).state_dict(), tmp_path / "frozenseg.pth")
    with pytest.raises(ValueError, match="unexpected names"):
        load_initial_weights(
            build_reference_model("convnext", tmp_path), tmp_path / "frozenseg.pth"
        )


@pytest.mark.slow
def test_weights_for_other_classes_leave_the_losses_class_weights_alone(fcclip, tmp_path):
    other = edited(
        fcclip, tmp_path, lambda s: s.update({"criterion.empty_weight": torch.full((100,), 7.0)})
    )
    model = build_reference_model("convnext", tmp_path)
    report = load_initial_weights(model, other)
    assert not report.initial
    assert model.criterion.empty_weight.max() == 1


def test_resuming_ignores_the_file_to_start_from(tmp_path):
    model = nn.Linear(1, 1)
    Checkpointer(model, str(tmp_path)).save("model_0000001", iteration=1)
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "start.pth")
    reader = Checkpointer(
        other := nn.Linear(1, 1), str(tmp_path), init_from=str(tmp_path / "start.pth")
    )
    assert reader.resume_or_load("", resume=True) == {"iteration": 1}
    assert torch.equal(other.weight, model.weight)
    reader.resume_or_load("", resume=False)
    assert not torch.equal(other.weight, model.weight)
