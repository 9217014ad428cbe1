"""The command that users call: its flags, a whole run with the real model, and its errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from frozenseg.cli.main import main
from frozenseg.evaluation.results import read_results
from tests.shapes_world import FILE, register_shapes, write_shapes

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "train_net.py"
CONFIG = ROOT / "tests" / "shapes_fcclip.yaml"
SMALL = [
    *("INPUT.IMAGE_SIZE", "64", "INPUT.MIN_SIZE_TEST", "64", "SOLVER.IMS_PER_BATCH", "2"),
    *("SOLVER.MAX_ITER", "2", "SOLVER.STEPS", "()", "MODEL.MASK_FORMER.TRAIN_NUM_POINTS", "64"),
    *("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "5", "MODEL.MASK_FORMER.DEC_LAYERS", "2"),
    *("MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", "1"),
]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    write_shapes(root / "shapes", train=3, val=2, size=(32, 40))
    return root


def run_here(*words, config=CONFIG, output):
    """Runs the command in this process and gives its exit code."""
    args = ["--config-file", str(config), *map(str, words), "OUTPUT_DIR", str(output)]
    with pytest.raises(SystemExit) as stop:
        main(["train", *args])
    return stop.value.code


@pytest.fixture(scope="module")
def environment(datasets, tmp_path_factory):
    """The datasets' root and a cache of its own; logging is left as pytest has it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(datasets))
        register_shapes(datasets)
        patch.setenv("FROZENSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("frozenseg.engine.run.set_up_logging", lambda *a, **k: None)
        yield patch


@pytest.fixture(scope="module")
def trained(environment, tmp_path_factory):
    """The output folder of a run of two iterations with the real model."""
    output = tmp_path_factory.mktemp("trained")
    assert run_here("--num-gpus", 0, *SMALL, "SOLVER.CHECKPOINT_PERIOD", 1, output=output) == 0
    return output


@pytest.fixture
def call(environment, tmp_path, capsys):
    """Runs the command in this process; gives its exit code and what it wrote on stderr."""

    def run(*words, **options):
        capsys.readouterr()
        code = run_here(*words, **{"output": tmp_path / "out", **options})
        return code, capsys.readouterr().err

    return run


def test_help_needs_no_torch_and_no_working_directory(tmp_path):
    code = (
        "import runpy, sys\n"
        "sys.modules['torch'] = sys.modules['detectron2'] = None  # importing them now fails\n"
        f"sys.argv = ['train_net.py', '--help']\nsys.path.insert(0, {str(ROOT)!r})\n"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for flag in (
        "--config-file",
        "--recipe",
        "--resume",
        "--eval-only",
        "--num-gpus",
        "--dist-url",
        "--debug",
    ):
        assert flag in done.stdout


def test_training_then_evaluation_gives_the_same_figures(trained, call, tmp_path):
    # The random CLIP of this config is in the file: another seed must not matter.
    weights = ["MODEL.WEIGHTS", trained / "model_final.pth", "SEED", 9]
    assert call("--num-gpus", 0, "--eval-only", *SMALL, *weights) == (0, "")
    before, after = (read_results(f / "results.json")[0] for f in (trained, tmp_path / "out"))
    assert before["metrics"] == after["metrics"]
    assert before["checkpoint_hash"] == after["checkpoint_hash"] is not None
    assert (trained / "config.yaml").is_file()
    assert (trained / "metrics.json").is_file()


def test_the_real_model_resumes_exactly(trained, call, tmp_path):
    """From the checkpoint of the first iteration to the same weights as without a stop."""
    output = tmp_path / "out"
    shutil.copytree(trained, output)
    (output / "model_final.pth").unlink()
    (output / "last_checkpoint").write_text("model_0000000.pth")
    code, _ = call("--num-gpus", 0, "--resume", *SMALL, "DATASETS.TEST", "()")
    assert code == 0
    straight, resumed = (
        torch.load(f / "model_final.pth", weights_only=True)["model"] for f in (trained, output)
    )
    first = torch.load(output / "model_0000000.pth", weights_only=True)["model"]
    name = "sem_seg_head.predictor.query_feat.weight"
    assert not torch.equal(first[name], resumed[name])
    for name, value in straight.items():
        assert torch.equal(value, resumed[name]), name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("MODEL.WEIGHTS", "none.pth"), "none.pth does not exist"),
        (("--eval-only",), "--eval-only needs weights"),
        (("MODEL.MASKFORMER.NHEADS", "8"), "MODEL.MASK_FORMER.NHEADS"),
        (("SOLVER.OPTIMIZER", "LION"), "SOLVER.OPTIMIZER = 'LION' is not supported"),
        (("DATASETS.TEST", "('no_such_data',)"), "no_such_data"),
        (("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "9"), "NUM_CLASSES"),
    ],
)
def test_a_mistake_is_one_line(call, words, message):
    flags = [word for word in words if word.startswith("--")]
    opts = [word for word in words if not word.startswith("--")]
    code, error = call("--num-gpus", 0, *flags, *SMALL, *opts)
    assert code == 2
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_weights_of_another_size_are_reported_with_the_key(trained, call):
    weights = trained / "model_final.pth"
    wrong = [*SMALL, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", "7", "MODEL.WEIGHTS", weights]
    code, error = call("--num-gpus", 0, "--eval-only", *wrong)
    assert code == 2
    assert "query_feat" in error
    assert "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES" in error


def test_a_missing_config_and_missing_data_are_reported(call, tmp_path, datasets):
    code, error = call(config=tmp_path / "none.yaml")
    assert (code, error.count("\n")) == (2, 1)
    assert "none.yaml" in error
    register_shapes(tmp_path)
    code, error = call("--num-gpus", 0, *SMALL)
    register_shapes(datasets)
    assert code == 2
    assert "make_shapes.py" in error


def test_a_damaged_picture_ends_the_program_with_one_line(tmp_path):
    """As a program of its own, with workers and logging: no traceback on the console."""
    write_shapes(tmp_path / "shapes", train=1, val=1, size=(32, 40))
    picture = tmp_path / "shapes" / "panoptic_train" / "000000.png"
    picture.write_bytes(picture.read_bytes()[:120])
    command = [sys.executable, SCRIPT, "--config-file", CONFIG, "--num-gpus", "0", *SMALL]
    command += ["DATASETS.FILES", [str(tmp_path / "shapes" / FILE)]]
    command += ["DATALOADER.NUM_WORKERS", "1", "OUTPUT_DIR", tmp_path / "out"]
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            "DETECTRON2_DATASETS": str(tmp_path),
            "FROZENSEG_CACHE": str(tmp_path / "cache"),
        },
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: in a worker process: {picture}")
    assert "Traceback" not in done.stderr + done.stdout
    assert "Traceback" in (tmp_path / "out" / "log.txt").read_text()
    assert "MODEL.DEVICE: cpu instead of cuda, since" in done.stdout
