"""The command as programs of their own: several processes by torchrun, and a run that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from frozenseg.checkpoints.lookup import locate
from frozenseg.cli.main import main
from frozenseg.data.miniature.dataset import write_miniature
from frozenseg.evaluation.results import read_results
from tests.engine.test_family_training import MODELS, STEM

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "configs" / "miniature" / "fcclip.yaml"
WEIGHTS = ROOT / "frozenseg" / "weights" / "miniature_fcclip.safetensors"
IMAGES, ITERATIONS = 3, 8  # an odd number of images for two processes
SMALL = [
    *("INPUT.IMAGE_SIZE", "64", "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64"),
    *("SOLVER.IMS_PER_BATCH", "4", "SOLVER.STEPS", "()", "SOLVER.MAX_ITER", str(ITERATIONS)),
    *("SOLVER.EMA_DECAY", "0.9", "SOLVER.ACCUMULATION_STEPS", "2"),
]
TRAIN_ONLY = ["DATASETS.TEST", "()", "SOLVER.CHECKPOINT_PERIOD", "2"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The variables of all programs here, in this process too."""
    root = tmp_path_factory.mktemp("processes")
    write_miniature(root / "miniature", {"train": 6, "dev": 0, "val": IMAGES}, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        patch.setenv("FROZENSEG_CACHE", str(root / "cache"))
        patch.delenv("PYTHONPATH", raising=False)
        patch.setattr("frozenseg.engine.run.set_up_logging", lambda *a, **k: None)
        yield root


def words(output, *more):
    return ["--config-file", str(CONFIG), "--num-gpus", "0", *more, "OUTPUT_DIR", str(output)]


def run_here(output, *more):
    with pytest.raises(SystemExit) as stop:
        main(["train", *words(output, *more)])
    assert stop.value.code == 0


def run_two(folder, *words):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", ROOT / "train_net.py", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def weights(folder, name="model_final.pth"):
    return torch.load(Path(folder) / name, weights_only=True)["model"]


def test_two_processes_of_torchrun_train_and_evaluate_once(environment, tmp_path):
    output = tmp_path / "two"
    # From the shipped decoder, slowly: the scores are not zero, so that they can differ.
    short = ["SOLVER.MAX_ITER", "3", "SOLVER.BASE_LR", "1e-6", "MODEL.WEIGHTS", str(WEIGHTS)]
    run_two(tmp_path, *words(output, *SMALL, *short))
    log, other = ((output / name).read_text() for name in ("log.txt", "log.txt.rank1"))
    assert log.count("Results: ") == 1
    assert "Results: " not in other
    assert "Saved " not in other
    assert other.count("Start inference on 1 batches") == 1
    assert log.count("Start inference on 2 batches") == 1
    (entry,) = read_results(output / "results.json")
    assert entry["images"] == IMAGES
    assert entry["checkpoint"] == "model_final_ema.pth"
    rows = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    assert len({row["iteration"] for row in rows}) == len(rows)
    alone = tmp_path / "alone"
    run_here(alone, "--eval-only", *SMALL, "MODEL.WEIGHTS", str(output / "model_final_ema.pth"))
    (again,) = read_results(alone / "results.json")
    assert entry["metrics"]["panoptic"]["all"]["PQ"] > 20
    assert again["metrics"] == entry["metrics"]
    assert again["checkpoint_hash"] == entry["checkpoint_hash"]


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_train_the_family(name, environment, tmp_path):
    model, own = MODELS[name]
    keys = {**own, "SOLVER.IMS_PER_BATCH": 2, "SOLVER.ACCUMULATION_STEPS": 1, "SOLVER.MAX_ITER": 3}
    keys["INPUT.IMAGE_SIZE"] = 128  # the compensation loss needs 4 cells a side
    if "MODEL.INIT_FROM" in keys:
        keys["MODEL.INIT_FROM"] = locate(keys["MODEL.INIT_FROM"])
    given = [str(word) for pair in keys.items() for word in pair]
    config = ["--config-file", str(CONFIG.with_name(f"{model}.yaml"))]
    run_two(tmp_path, *words(tmp_path, *config, *SMALL, *TRAIN_ONLY, *given))
    first, last = weights(tmp_path, "model_0000001.pth"), weights(tmp_path)
    part = STEM if own.get("MODEL.STUDENT.ENABLED") else "mask_adapter.fuse.weight"
    assert last[part].isfinite().all()
    assert not torch.equal(first[part], last[part])


def test_a_killed_run_resumes_to_the_same_final_weights(environment, tmp_path):
    killed, straight = tmp_path / "killed", tmp_path / "straight"
    more = [*SMALL, *TRAIN_ONLY, "SOLVER.MAX_ITER", "400"]
    program = subprocess.Popen(
        [sys.executable, ROOT / "train_net.py", *words(killed, *more)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    deadline = time.monotonic() + 300
    while not (killed / "last_checkpoint").is_file() and time.monotonic() < deadline:
        assert program.poll() is None
        time.sleep(0.005)
    os.kill(program.pid, signal.SIGKILL)
    assert program.wait() == -signal.SIGKILL
    last = (killed / "last_checkpoint").read_text()
    assert int(last.removeprefix("model_").removesuffix(".pth")) < ITERATIONS - 1, last
    assert not (killed / "model_final.pth").exists()
    run_here(killed, "--resume", *SMALL, *TRAIN_ONLY)
    run_here(straight, *SMALL, *TRAIN_ONLY)
    for name in ("model_final.pth", "model_final_ema.pth"):
        expected, found = weights(straight, name), weights(killed, name)
        assert set(expected) == set(found)
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    first = weights(killed, last)
    assert any(not torch.equal(value, first[key]) for key, value in expected.items())
