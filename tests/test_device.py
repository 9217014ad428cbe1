"""Which device a program runs on, and what is said of a wrong one."""

from __future__ import annotations

import logging

import pytest
import torch

from frozenseg import device as module
from frozenseg.device import pick_device, precision_name, usable_device


def test_the_device_falls_back_with_one_log_line(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with caplog.at_level(logging.INFO):
        assert usable_device("cuda", 1) == "cpu"
    assert len(caplog.messages) == 1
    assert "no GPU was found" in caplog.messages[0]
    assert usable_device("cpu", 4) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "check_device", lambda name, **_: name)
    assert usable_device("cuda", 1) == "cuda"
    assert usable_device("cuda", 0) == "cpu"


@pytest.mark.parametrize("name", ["gpu", "", "CPU"])
def test_what_is_no_device_is_one_clear_line(name):
    with pytest.raises(ValueError, match=rf"^MODEL\.DEVICE '{name}' .*set it to cuda or cpu$"):
        usable_device(name, 1)
    with pytest.raises(ValueError, match=rf"^device '{name}' .*take cpu or auto$"):
        pick_device(name)


def test_a_device_of_another_machine_is_one_short_line(monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError("Could not run it. " + "Backends: " * 99 + "\nand so on")

    monkeypatch.setattr(torch, "empty", refuse)
    with pytest.raises(ValueError, match=r"MODEL\.DEVICE 'mps'.*\(Could not run it\)") as error:
        usable_device("mps", 1)
    assert len(str(error.value)) < 120


@pytest.mark.parametrize(
    ("cuda", "mps", "suffices", "device"),
    [(True, True, True, "cuda"), (False, True, True, "mps"), (False, True, False, "cpu"),
     (False, False, True, "cpu")],
)  # fmt: skip
def test_auto_takes_a_gpu_that_suffices(monkeypatch, cuda, mps, suffices, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(module, "_mps_suffices", lambda: suffices)
    assert pick_device("auto") == device


def test_an_apple_gpu_that_lacks_an_operator_is_not_taken(monkeypatch, caplog):
    ones = torch.ones
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *size, device: ones(*size))
    monkeypatch.setattr(torch, "zeros", lambda *size, dtype, device: ones(*size, dtype=dtype) * 0)
    assert pick_device("auto") == "mps"

    def lacks(*_, **__):
        raise NotImplementedError("The operator 'aten::searchsorted' is not implemented for MPS")

    monkeypatch.setattr(torch, "searchsorted", lacks)
    assert pick_device("auto") == "cpu"
    (message,) = caplog.messages
    assert "cpu instead of mps" in message
    assert "aten::searchsorted" in message


def test_precisions_by_name_or_dtype():
    assert precision_name("bfloat16") == precision_name(torch.bfloat16) == "bfloat16"
    for wrong in ("half", torch.float64, None):
        with pytest.raises(ValueError, match="use one of float32, bfloat16, float16"):
            precision_name(wrong)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16\n", True),
        ("flags\t\t: fpu avx2 amx_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("", False),
    ],
)
def test_which_processors_multiply_bfloat16(monkeypatch, tmp_path, text, expected):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(module, "_CPU_INFO", path)
    assert not module.cpu_multiplies_bfloat16()
    path.write_text(text)
    assert module.cpu_multiplies_bfloat16() == expected
