"""Building a model takes its weights' size in memory, not a multiple: what a process peaked at.

The bounds lie between one copy of the weights, 110 to 140 MB here, and two.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from frozenseg.checkpoints.skip_init import weights_follow
from frozenseg.encoders.clip.weights import load_clip

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "configs" / "miniature" / "miniature_clip.json"
# Loads a small model first: what is imported and cached on the way counts for no model.
PROGRAM = """
import json, resource, sys
from frozenseg.build import load_model
from frozenseg.config import load_config

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

small, large = ([word.split("=", 1) for word in words.split(";")] for words in sys.argv[1:])
load_model(load_config("configs/miniature/fcclip.yaml", sum(small, [])))
before = peak()
model, _ = load_model(load_config("configs/miniature/fcclip.yaml", sum(large, [])))
size = sum(each.nbytes for each in (*model.parameters(), *model.buffers()))
print(json.dumps({"grown": peak() - before, "size": size}))
"""


@pytest.fixture(scope="module")
def large_clip(tmp_path_factory):
    """The miniature CLIP with a text tower of another width: (its config, its weights)."""
    folder = tmp_path_factory.mktemp("clip")
    sizes = json.loads(CLIP.read_text())
    sizes["text_cfg"] |= {"width": 512, "heads": 8}
    config = folder / "large_clip.json"
    config.write_text(json.dumps(sizes))
    with weights_follow():
        state = load_clip(str(config)).state_dict()
    return config, {
        name: torch.full(tensor.shape, 0.01) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def _loaded(large: list[str]) -> dict[str, int]:
    small = "MODEL.DEVICE=cpu;DATASETS.TEST=()"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, small, ";".join([small, *large])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_an_encoder_from_its_own_file(suffix, large_clip, tmp_path):
    config, state = large_clip
    path = tmp_path / f"clip{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    key = "MODEL.FC_CLIP.CLIP_"
    figures = _loaded([f"{key}MODEL_NAME={config}", f"{key}PRETRAINED_WEIGHTS={path}"])
    assert figures["size"] > 100e6
    assert figures["grown"] < 1.5 * figures["size"]


def test_everything_from_one_checkpoint(large_clip, tmp_path):
    config, state = large_clip
    from frozenseg.build import load_model
    from frozenseg.config import load_config

    cfg = load_config(str(ROOT / "configs/miniature/fcclip.yaml"), ["DATASETS.TEST", "()"])
    cfg.MODEL.DEVICE = "cpu"
    whole = {
        name: tensor
        for name, tensor in load_model(cfg)[0].state_dict().items()
        if not name.startswith("backbone.")
    }
    path = tmp_path / "model.pth"
    torch.save(whole | {f"backbone.clip_model.{name}": each for name, each in state.items()}, path)
    key = "MODEL.FC_CLIP.CLIP_"
    words = [f"{key}MODEL_NAME={config}", f"{key}PRETRAINED_WEIGHTS=", f"MODEL.WEIGHTS={path}"]
    figures = _loaded(words)
    assert figures["grown"] < 1.5 * figures["size"]
