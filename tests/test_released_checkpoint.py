"""Whoever has a released file and a prepared benchmark scores it without a network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data.raw_datasets import make_ade20k, run_prepare
from tests.released_files import write_released

ROOT = Path(__file__).resolve().parents[1]
# Any other computer is out of reach, and whoever asks for one is written down.
NO_NETWORK = """
import os, socket
connect = socket.socket.connect
def refuse(*arguments, **options):
    with open(os.environ["ASKED"], "a") as file:
        print(arguments, file=file)
    raise OSError(101, "Network is unreachable")
socket.getaddrinfo = refuse
socket.socket.connect = lambda self, address: (
    connect(self, address) if self.family == socket.AF_UNIX else refuse(address)
)
"""


@pytest.fixture
def run(tmp_path):
    """Runs a command without a network, in an empty home folder; its output, and who was asked."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "sitecustomize.py").write_text(NO_NETWORK)
    (tmp_path / "home").mkdir()
    unset = ("HF_HUB_OFFLINE", "HF_HOME", "XDG_CACHE_HOME", "FROZENSEG_CACHE")
    environment = {
        **{name: value for name, value in os.environ.items() if name not in unset},
        "HOME": str(tmp_path / "home"),
        "PYTHONPATH": os.pathsep.join([str(tmp_path / "code"), str(ROOT)]),
        "DETECTRON2_DATASETS": str(tmp_path / "datasets"),
        "ASKED": str(tmp_path / "asked"),
    }

    def call(*words):
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        asked = tmp_path / "asked"
        return (
            done.returncode,
            done.stdout + done.stderr,
            asked.read_text() if asked.exists() else "",
        )

    return call


SMALL = (  # seconds instead of minutes: the size of the images and one prompt for each word
    *("MODEL.DEVICE", "cpu", "INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "128"),
    *("MODEL.FC_CLIP.TEMPLATES", "simple", "DATALOADER.NUM_WORKERS", "0"),
)


@pytest.mark.slow
def test_a_released_file_is_scored_without_a_network(run, shared_dir, tmp_path):
    weights = tmp_path / "fcclip_cocopan_r50.pth"
    write_released(shared_dir / "state_dict_keys/fcclip_r50.json", weights)
    make_ade20k(tmp_path / "datasets")
    assert run_prepare("ade20k", tmp_path / "datasets") == 0
    words = tmp_path / "home/.cache/frozenseg/words/fcclip"
    shutil.copytree(shared_dir / "words/fcclip", words)

    code, output, asked = run(
        *("-m", "frozenseg", "evaluate", "--config-file", "configs/fcclip/r50.yaml"),
        *("--weights", weights, "--benchmarks", "ade20k_150", "--words", "fcclip"),
        *("--output", "scores", "--opts", *SMALL),
    )
    assert code == 0, output
    assert asked == ""
    assert f"weights: decoder and backbone.* from {weights}\n" in output
    assert "random weights" not in output
    result = json.loads((tmp_path / "scores/results.json").read_text())["results"][0]
    assert result["images"] == 2
    assert result["protocol"]["words"]["set"] == "fcclip"

    code, output, asked = run(
        *(ROOT / "train_net.py", "--config-file", "configs/fcclip/r50.yaml", "--eval-only"),
        *("--recipe", "configs/evaluation/ade20k_150.yaml", "MODEL.WEIGHTS", weights),
        *("OUTPUT_DIR", "evaluated", "DATASETS.WORDS", "fcclip", *SMALL),
    )
    assert (code, asked) == (0, ""), output
    assert f"weights: decoder and backbone.* from {weights}\n" in output
    again = json.loads((tmp_path / "evaluated/results.json").read_text())["results"][0]
    for key in ("metrics", "protocol", "checkpoint_hash"):
        assert again[key] == result[key]
