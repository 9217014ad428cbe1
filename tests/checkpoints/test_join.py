"""Joining a Mask-Adapter's weights and a model's: what is taken from where, and what is refused."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from frozenseg.build import build_model
from frozenseg.checkpoints.join import join_adapter
from frozenseg.checkpoints.loading import load_weights
from frozenseg.cli import weights_join
from frozenseg.config import load_config
from frozenseg.data.catalog.register import register_splits

CONFIGS = Path(__file__).parents[2] / "configs"
IMAGE = "backbone.clip_model.visual.trunk.stem.0.weight"


def adapter(**more):
    return {
        "mask_adapter.fuse.weight": torch.ones(4, 6, 1, 1),
        "void_embedding.weight": torch.ones(1, 6),
        IMAGE: torch.ones(2),
        **more,
    }


def model(**more):
    return {
        "sem_seg_head.predictor.query_feat.weight": torch.zeros(3, 2),
        "void_embedding.weight": torch.zeros(1, 6),
        IMAGE: torch.ones(2),
        **more,
    }


@pytest.fixture
def join(tmp_path):
    """Joins two state dicts; the second file has no level "model", as MAFT+'s."""

    def join_states(first, second, target="joined.safetensors"):
        torch.save({"model": first}, tmp_path / "adapter.pth")
        torch.save(second, tmp_path / "model.pth")
        counts = join_adapter(tmp_path / "adapter.pth", tmp_path / "model.pth", tmp_path / target)
        return load_file(tmp_path / target), list(counts.values())

    return join_states


def test_the_adapter_comes_from_one_and_all_else_from_the_other(join, caplog):
    old = {"mask_adapter.fuse.weight": torch.zeros(4, 6, 1, 1)}
    joined, counts = join(adapter(), model(**old))
    assert set(joined) == set(model()) | set(adapter())
    assert (joined["mask_adapter.fuse.weight"] == 1).all()
    assert (joined["void_embedding.weight"] == 0).all()
    assert counts == [1, 3]
    assert caplog.records == []


def test_teachers_and_class_weights_of_the_loss_stay_out(join):
    extra = {
        "frozen_backbone.x": torch.ones(1),
        "backbone_t.x": torch.ones(1),
        "criterion.empty_weight": torch.ones(3),
    }
    assert set(join(adapter(), model(**extra))[0]) == set(model()) | set(adapter())


def test_two_files_of_maft_plus(join):
    first, second = {"cdt.a": torch.ones(1)}, {"cdt.a": torch.zeros(1)}
    assert join(adapter(**first), model(**second))[0]["cdt.a"] == 0


def test_another_clip_is_a_warning(join, caplog):
    joined, _ = join(adapter(), model(**{IMAGE: torch.zeros(2)}))
    assert (joined[IMAGE] == 0).all()
    assert "hold different CLIPs (1 of 1 tensors of the image tower)" in caplog.text


CDT = {"cdt.a": torch.ones(1)}
NARROW = {"mask_adapter.fuse.weight": torch.ones(4, 5, 1, 1)}


@pytest.mark.parametrize(
    ("first", "second", "target", "message"),
    [
        (adapter(), model(), "joined.pth", r"joined\.pth: .* must end in \.safetensors"),
        (adapter(**NARROW), model(), "j.safetensors", r"adapter\.pth is for a CLIP of 5 chan.* 6"),
        (adapter(**CDT), model(), "j.safetensors", r"adapter\.pth belongs to MAFT\+ and the other"),
        (adapter(), model(**CDT), "j.safetensors", r"model\.pth belongs to MAFT\+ and the other"),
        (model(), adapter(), "j.safetensors", r"adapter\.pth holds no mask_adapter\.fuse\.weight"),
        (adapter(), adapter(), "j.safetensors", r"model\.pth holds no decoder \(sem_seg_head"),
        (
            adapter(),
            {"sem_seg_head.a": torch.ones(1)},
            "j.safetensors",
            r"model\.pth holds no void_embedding\.weight",
        ),
        (
            adapter(**{"mask_adapter.fuse.weight": torch.ones(4)}),
            model(),
            "j.safetensors",
            r"adapter\.pth: mask_adapter\.fuse\.weight has shape \(4,\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    join, first, second, target, message, tmp_path
):
    with pytest.raises(ValueError, match=message):
        join(first, second, target)
    assert not (tmp_path / target).exists()


def test_the_command_takes_names_and_says_what_came_from_where(tmp_path, capsys):
    torch.save(adapter(**{"mask_adapter.fuse.weight": torch.ones(4, 64, 1, 1)}), tmp_path / "a.pth")
    parser = argparse.ArgumentParser()
    weights_join.add_arguments(parser)
    target = tmp_path / "joined.safetensors"
    words = [str(tmp_path / "a.pth"), "miniature-fcclip", "--output", str(target)]
    weights_join.main(parser.parse_args(words))
    assert target.is_file()
    said = capsys.readouterr().out
    assert f"{target}: 1 tensors of {tmp_path / 'a.pth'}, " in said
    assert "miniature_fcclip.safetensors" in said


def zeros(keys: Path, *prefixes: str):
    """Zeros of the released names and shapes."""
    return {
        name: torch.zeros(entry["shape"], dtype=getattr(torch, entry["dtype"].split(".")[-1]))
        for name, entry in json.loads(keys.read_text()).items()
        if name.startswith(prefixes or ("",))
    }


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.filterwarnings("ignore:for .* meta parameter")
def test_frozenseg_with_fcclips_adapter_loads_strictly_at_full_size(shared_dir, tmp_path):
    folder = shared_dir / "state_dict_keys"
    released = zeros(folder / "frozenseg_convnext_large_vit_b.json", "sem_seg_head", "void")
    parts = zeros(
        folder / "mask_adapter_fcclip_convnext_large.json", "mask_adapter.", "void_embedding"
    )
    torch.save({"model": parts}, tmp_path / "adapter.pth")
    torch.save({"model": released}, tmp_path / "frozenseg.pth")
    target = tmp_path / "joined.safetensors"
    join_adapter(tmp_path / "adapter.pth", tmp_path / "frozenseg.pth", target)
    path = CONFIGS / "frozenseg" / "convnext_large_mask_adapter.yaml"
    register_splits()
    net = build_model(load_config(path, ["MODEL.DEVICE", "meta"]))
    report = load_weights(net, target)
    assert set(report.loaded) == set(released) | set(parts)
    assert not report.ignored
