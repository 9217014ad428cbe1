from __future__ import annotations

import logging
import time

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU

from frozenseg.checkpoints.table import HUB_REVISIONS
from frozenseg.encoders.clip import weights as clip_weights
from frozenseg.encoders.clip.config import read_clip_config
from frozenseg.encoders.clip.weights import load_clip


def uses_quick_gelu(model) -> bool:
    return any(isinstance(module, QuickGELU) for module in model.transformer.modules())


@pytest.fixture
def no_download(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained_from_hf", refuse)


@pytest.fixture
def tiny_rn50(monkeypatch, clip_config, make_clip, tmp_path):
    """open_clip's RN50 made tiny, its downloads answered from a file, whose path this is."""
    path = tmp_path / "tiny.pt"
    torch.save(make_clip("resnet").state_dict(), path)
    arguments = read_clip_config(str(clip_config("resnet"))).arguments
    tiny = clip_weights.ClipConfig("RN50", arguments, custom_text=False, is_builtin=True)
    monkeypatch.setattr(clip_weights, "read_clip_config", lambda name: tiny)

    def answer(repository, file, revision):
        assert (repository, file) == ("timm/resnet50_clip.openai", "")
        assert revision == HUB_REVISIONS[repository]
        return str(path)

    monkeypatch.setattr(open_clip.pretrained, "download_pretrained_from_hf", answer)
    return path


def test_random_weights_are_announced_once(clip_config, caplog):
    with caplog.at_level(logging.WARNING):
        model = load_clip(str(clip_config("resnet")))
    assert len(caplog.records) == 1
    assert "words and masks mean nothing" in caplog.text
    assert not model.training


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "safetensors"])
@pytest.mark.parametrize("kind", ["resnet", "convnext"])
def test_a_local_file_restores_every_tensor(clip_config, make_clip, tmp_path, kind, suffix, caplog):
    saved, path = make_clip(kind), tmp_path / f"weights.{suffix}"
    if suffix == "safetensors":
        from safetensors.torch import save_file

        save_file(saved.state_dict(), path)
    else:
        torch.save(saved.state_dict(), path)
    caplog.clear()
    loaded = load_clip(str(clip_config(kind)), str(path))
    expected = {**saved.state_dict(), **dict(saved.named_buffers())}
    actual = {**loaded.state_dict(), **dict(loaded.named_buffers())}
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
    assert not caplog.records


def test_flat_files_load_into_models_with_a_text_module(clip_config, make_clip, tmp_path):
    torch.save(make_clip("resnet").state_dict(), tmp_path / "flat.pt")
    model = load_clip(str(clip_config("resnet", custom_text=True)), str(tmp_path / "flat.pt"))
    flat = make_clip("resnet").text_projection
    assert torch.equal(model.text.text_projection, flat)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("ln_final.weight"), "1 missing, first ln_final.weight"),
        (lambda s: s.update(extra=torch.ones(1)), "1 unexpected, first extra"),
        (
            lambda s: s.update({"visual.conv1.weight": torch.ones(2, 3, 3, 3)}),
            r"1 of another shape, first visual.conv1.weight \(\[2, 3, 3, 3\] in the file",
        ),
    ],
)
def test_weights_of_another_model_are_refused(clip_config, make_clip, tmp_path, change, message):
    state = dict(make_clip("resnet").state_dict())
    change(state)
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message) as caught:
        load_clip(str(clip_config("resnet")), str(tmp_path / "other.pt"))
    assert "other.pt" in str(caught.value)


def test_openai_files_have_no_batch_counters(clip_config, make_clip, tmp_path):
    state = make_clip("resnet").state_dict()
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "weights.pt")
    load_clip(str(clip_config("resnet")), str(tmp_path / "weights.pt"))


@pytest.mark.slow
@pytest.mark.parametrize("in_config", [None, False, True])
def test_activation_follows_the_config_and_openai_forces_quick_gelu(
    clip_config, make_clip, tmp_path, in_config
):
    settings = {} if in_config is None else {"quick_gelu": in_config}
    config = str(clip_config("resnet", **settings))
    path = tmp_path / "weights.pt"
    torch.save(make_clip("resnet").state_dict(), path)
    for weights in ("", str(path)):
        assert uses_quick_gelu(load_clip(config, weights)) == bool(in_config)
    for weights in ("openai:", f"openai:{path}"):
        assert uses_quick_gelu(load_clip(config, weights))


def test_openai_archive_forces_quick_gelu(clip_config, make_clip, tmp_path):
    state = make_clip("resnet").half().state_dict()
    constants = {"input_resolution": 64, "context_length": 77, "vocab_size": 49408}
    torch.save(state | {k: torch.tensor(v) for k, v in constants.items()}, tmp_path / "RN.pt")
    model = load_clip(str(clip_config("resnet")), str(tmp_path / "RN.pt"))
    assert uses_quick_gelu(model)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.text_projection, state["text_projection"].float())


def test_a_tag_downloads_and_brings_its_activation(tiny_rn50, make_clip):
    model = load_clip("RN50", "openai")
    assert uses_quick_gelu(model)
    assert torch.equal(model.text_projection, make_clip("resnet").text_projection)


def test_a_tags_file_that_changed_after_its_first_use_is_refused(tiny_rn50):
    load_clip("RN50", "openai")
    with tiny_rn50.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"tiny\.pt is damaged or was replaced"):
        load_clip("RN50", "openai")


def test_unknown_tag_names_the_known_ones_before_any_download(no_download):
    with pytest.raises(ValueError, match=r"'laion9b'.*RN50.*openai, yfcc15m, cc12m"):
        load_clip("RN50", "laion9b")


def test_tags_need_a_name_of_open_clip(clip_config):
    with pytest.raises(ValueError, match="its tags are none"):
        load_clip(str(clip_config("resnet")), "openai")


def test_failed_download_tells_the_way_out(no_download):
    with pytest.raises(ConnectionError, match=r"'openai' of CLIP RN50.*path of a file.*checkpoint"):
        load_clip("RN50", "openai")


@pytest.mark.parametrize("weights", ["missing.pt", "folder/missing", "openai:missing"])
def test_missing_file_is_named(clip_config, weights):
    with pytest.raises(FileNotFoundError, match="missing"):
        load_clip(str(clip_config("resnet")), weights)


def test_config_that_open_clip_refuses_is_named(clip_config):
    path = clip_config("resnet", text={"wdith": 3})
    with pytest.raises(ValueError, match=rf"{path.name}.*wdith"):
        load_clip(str(path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["RN50x64", "convnext_xxlarge"])
def test_meta_device_builds_full_sizes_at_once_and_opens_nothing(name, no_download, caplog):
    start = time.process_time()
    model = load_clip(name, open_clip.list_pretrained_tags_by_model(name)[0], device="meta")
    assert time.process_time() - start < 10  # initialising these takes about 20 seconds
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"meta"}
    assert sum(parameter.numel() for parameter in model.parameters()) > 6e8
    assert uses_quick_gelu(model) == name.startswith("RN")
    assert not caplog.records


def test_a_default_device_of_meta_is_respected(clip_config):
    with torch.device("meta"):
        model = load_clip(str(clip_config("convnext")))
    assert model.logit_scale.is_meta
