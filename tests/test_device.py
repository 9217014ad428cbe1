"""Which device a program runs on, and what is said of a wrong one."""

from __future__ import annotations

import logging

import pytest
import torch

from frozenseg import device as module
from frozenseg.device import pick_device, usable_device


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


def test_auto_takes_the_gpu_if_there_is_one(monkeypatch):
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto") == device
