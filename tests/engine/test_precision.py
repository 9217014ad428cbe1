"""What SOLVER.AMP means on which device."""

from __future__ import annotations

import logging

import pytest
import torch

from frozenseg.engine.precision import choose_precision, cpu_has_bf16


@pytest.mark.parametrize(
    ("amp", "device", "bf16", "dtype", "scaler"),
    [
        (False, "cpu", True, None, False),
        (True, "cpu", False, None, False),
        (True, "cpu", True, torch.bfloat16, False),
        (True, "cuda:1", True, torch.float16, True),
        (False, "cuda", True, None, False),
    ],
)
def test_choice(amp, device, bf16, dtype, scaler):
    precision = choose_precision(amp, device, cpu_bf16=bf16)
    assert precision.dtype == dtype
    assert precision.needs_scaler == scaler
    assert precision.device_type == device.partition(":")[0]


@pytest.mark.parametrize(("bf16", "words"), [(True, "bfloat16 autocast"), (False, "is off")])
def test_a_fallback_is_one_log_line(caplog, bf16, words):
    with caplog.at_level(logging.INFO):
        choose_precision(True, "cpu", cpu_bf16=bf16)
    assert len(caplog.messages) == 1
    assert words in caplog.messages[0]


def test_autocast_computes_in_the_chosen_type():
    x = torch.ones(2, 2)
    with choose_precision(True, "cpu", cpu_bf16=True).autocast():
        assert (x @ x).dtype == torch.bfloat16
    with choose_precision(False, "cpu").autocast():
        assert (x @ x).dtype == torch.float32


def test_the_processor_is_asked(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("model name : x\nflags\t\t: fpu avx512f avx512_bf16\n")
    assert cpu_has_bf16(info)
    info.write_text("model name : avx512_bf16\nflags\t\t: fpu avx512f\n")
    assert not cpu_has_bf16(info)
    assert not cpu_has_bf16(tmp_path / "missing")
