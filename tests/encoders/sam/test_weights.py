from __future__ import annotations

import hashlib
from dataclasses import replace
from types import MappingProxyType

import pytest
import torch
from safetensors.torch import save_file

from frozenseg.encoders.sam import weights as sam_weights
from frozenseg.encoders.sam.config import SAM_CONFIGS
from frozenseg.encoders.sam.weights import check_digits, read_sam_weights

VIT_B, VIT_T = SAM_CONFIGS["vit_b"], SAM_CONFIGS["vit_t"]


@pytest.fixture
def state():
    return {"a.weight": torch.randn(3, 2), "a.count": torch.tensor(7)}


def save(state, path):
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_files_of_any_float_type(state, tmp_path, suffix, dtype):
    file = {**state, "a.weight": state["a.weight"].to(dtype)}
    found = read_sam_weights(VIT_B, save(file, tmp_path / f"mine.{suffix}"), state)
    assert found["a.weight"].dtype == torch.float32
    assert torch.equal(found["a.weight"], file["a.weight"].float())
    assert found["a.count"].dtype == torch.int64
    assert int(found["a.count"]) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("a.weight"), "1 missing, first a.weight"),
        (lambda s: s.update(b=torch.ones(1)), "1 unexpected, first b"),
        (
            lambda s: s.update({"a.weight": torch.ones(4)}),
            r"1 of another shape, first a.weight \(\[4\] in the file, \[3, 2\] in the model\)",
        ),
    ],
)
def test_files_of_another_model_are_refused(state, tmp_path, change, message):
    file = dict(state)
    change(file)
    path = save(file, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match=rf"mine\.pth does not fit SAM vit_b: {message}.*SAM_NAME"):
        read_sam_weights(VIT_B, path, state)


def test_mobile_sam_carries_imagenets_head(state, tmp_path):
    file = state | {"image_encoder.head.bias": torch.ones(5)}
    file |= {"image_encoder.norm_head.weight": torch.ones(2)}
    path = save(file, tmp_path / "mine.pth")
    assert read_sam_weights(VIT_T, path, state).keys() == state.keys()
    with pytest.raises(ValueError, match="2 unexpected"):
        read_sam_weights(VIT_B, path, state)


def test_missing_file_says_where_to_get_it(state, tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        read_sam_weights(VIT_B, str(tmp_path / "no.pth"), state)
    for part in ("no.pth", "sam_vit_b_01ec64.pth", "segment-anything", "SAM_PRETRAINED_WEIGHTS"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["vit_b", "vit_l", "vit_h"])
def test_a_damaged_published_file_is_refused(state, tmp_path, name):
    config = SAM_CONFIGS[name]
    digits = config.official_file[:-4].rsplit("_", 1)[1]
    path = save(state, tmp_path / config.official_file)
    with pytest.raises(ValueError, match=rf"{config.official_file}.*MD5 begins with .*{digits}"):
        read_sam_weights(config, path, state)


def test_the_digits_are_the_checksums(state, tmp_path, monkeypatch):
    plain = tmp_path / "mine.pth"
    save(state, plain)
    digits = hashlib.md5(plain.read_bytes()).hexdigest()[:6]
    path = plain.rename(tmp_path / f"sam_vit_b_{digits}.pth")
    config = replace(VIT_B, official_file=path.name)
    monkeypatch.setattr(sam_weights, "SAM_CONFIGS", MappingProxyType({"vit_b": config}))
    assert read_sam_weights(config, str(path), state).keys() == state.keys()
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ValueError, match=digits):
        check_digits(path)


def test_other_names_are_not_checked(state, tmp_path):
    for name in ("mobile_sam.pt", "sam_vit_b_000000.pth"):
        path = save(state, tmp_path / name)
        assert read_sam_weights(VIT_B, path, state).keys() == state.keys()


def test_pickled_code_is_never_run(tmp_path):
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "mine.pth")
    with pytest.raises(ValueError, match="never unpickled"):
        read_sam_weights(VIT_B, str(tmp_path / "mine.pth"), {})
