"""The real models on the miniature world: the loss falls, and a killed run resumes exactly."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
import torch

from frozenseg.config import load_config
from frozenseg.data.catalog.register import register_splits
from frozenseg.data.miniature.dataset import write_miniature
from frozenseg.data.miniature.folds import write_folds
from tests.engine.test_trainer import train

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "miniature"
ITERATIONS, STOP = 30, 17  # the last checkpoint before the stop is that of iteration 12


@pytest.fixture(scope="module", autouse=True)
def world(tmp_path_factory):
    """Eight training scenes."""
    root = tmp_path_factory.mktemp("datasets")
    write_miniature(root / "miniature", {"train": 8, "dev": 0, "val": 0}, seed=0)
    write_folds(root, {"train": 8, "val": 0, "mosaics": 0}, seed=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(root))
        register_splits()
        yield
    register_splits()


def settings(model: str, output: Path, cache: Path):
    opts = {
        "OUTPUT_DIR": output,
        "MODEL.TEXT_CACHE_DIR": cache,
        "MODEL.DEVICE": "cpu",
        "DATASETS.TEST": "()",
        "INPUT.IMAGE_SIZE": 128,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": ITERATIONS,
        "SOLVER.STEPS": "(25,)",
        "SOLVER.WARMUP_ITERS": 3,
        "SOLVER.CHECKPOINT_PERIOD": 12,
        "MODEL.MASK_FORMER.TRAIN_NUM_POINTS": 256,
    }
    pairs = [str(word) for pair in opts.items() for word in pair]
    return load_config(CONFIGS / f"{model}.yaml", pairs)


@pytest.mark.parametrize("model", ["fcclip", "frozenseg", "fusioner_clip_clip"])
def test_loss_falls_and_a_resumed_run_continues_exactly(model, tmp_path):
    cache = tmp_path / "text"
    trainer, losses = train(settings(model, tmp_path / "straight", cache))
    first, last = (list(losses.values())[part] for part in (slice(0, 5), slice(-5, None)))
    assert statistics.mean(last) < 0.8 * statistics.mean(first)
    broken = settings(model, tmp_path / "broken", cache)
    _, before = train(broken, stop_after=STOP)
    resumed, after = train(broken, resume=True)
    assert min(after) <= STOP
    assert {**before, **after} == losses
    trained = dict(resumed.model.named_parameters())
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value, trained[name]), name
