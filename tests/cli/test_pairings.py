"""The grid of pairings: its cells, its table, and one cell from data to table."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from frozenseg.cli.pairings_cells import (
    GRIDS,
    check_names,
    command_of,
    folder_of,
    grid_of,
    run_cells,
)
from frozenseg.cli.pairings_differences import difference_table
from frozenseg.cli.pairings_table import collect, draw, summarise, write_tables
from frozenseg.evaluation.per_image import PerImage, per_image_file, sorted_rows, write_per_image
from frozenseg.evaluation.results import write_results

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
MINIATURE = ROOT / "configs" / "miniature" / "fusioner_clip_clip.yaml"


def test_the_grids_are_the_configs_of_the_repository():
    assert len(grid_of("paper")) == 12
    assert MINIATURE in grid_of("miniature")
    assert [path.stem for path in grid_of("miniature-novel")] == [
        f"fusioner_{words}" for words in ("clip_bert", "clip_clip", "vit_bert", "vit_clip")
    ]


def test_the_command_of_a_cell(tmp_path):
    cell = (MINIATURE, "late", 3, 2)
    opts = ["SOLVER.MAX_ITER", "7", "TEST.EVAL_PERIOD", "3"]
    words = command_of(cell, tmp_path, opts, num_gpus=0)
    keys = words[words.index("SOLVER.MAX_ITER") :]
    values = dict(zip(keys[::2], keys[1::2], strict=True))
    folder = folder_of(cell, tmp_path)
    assert folder == tmp_path / "fusioner_clip_clip" / "late" / "fold3_seed2"
    assert values["OUTPUT_DIR"] == str(folder)
    assert values["DATASETS.TRAIN"] == "('miniature_fold3_train',)"
    assert "fold0" not in values["DATASETS.TEST"]
    assert values["SOLVER.MAX_ITER"] == "7"
    assert values["SEED"] == "2"
    assert values["TEST.EVAL_PERIOD"] == "0"  # results.json says that a cell is finished
    assert values["MODEL.FUSIONER.METHOD"] == "late"
    assert values["MODEL.FUSIONER.FEATURE_CACHE_DIR"] == str(tmp_path / "features")


def test_a_cell_of_novel_shapes_is_trained_and_scored_on_its_fold(tmp_path):
    grid = GRIDS["miniature-novel"]
    assert grid.folds == (0, 1, 2, 3)
    words = command_of((MINIATURE, "early", 2, 0), tmp_path, grid.keys, num_gpus=0)
    keys = words[words.index("DATASETS.TRAIN", words.index("DATASETS.TEST")) :]
    values = dict(zip(keys[::2], keys[1::2], strict=False))
    prefix = "miniature_novel_fold2"
    assert values["DATASETS.TRAIN"] == f"('{prefix}_train',)"
    tests = [f"{prefix}_{split}" for split in ("val", "shape_val", "color_val", "seen_val")]
    assert values["DATASETS.TEST"] == str(tuple(tests))
    assert values["TEST.SAVE_PER_IMAGE"] == "True"


def test_configs_of_one_name_are_refused(tmp_path):
    check_names(grid_of("paper"))
    with pytest.raises(ValueError, match=r"several are called a\.yaml.*rename"):
        check_names([tmp_path / "a.yaml", tmp_path / "b.yaml", tmp_path / "other" / "a.yaml"])


def fake_results(folder, scores, correct=()):
    """A results.json with a mIoU for each dataset.

    With `correct`, the intersections of one class on pictures a, b, ... where it has 4 pixels.
    """
    folder.mkdir(parents=True)
    about = {"benchmark": "b", "split": "val", "config_hash": "1", "checkpoint_hash": "2"}
    entries = [
        {
            **about,
            **{"dataset": name, "images": len(correct) or 3, "protocol": {}},
            "metrics": {"episodes": {"mIoU": value, "FB_IoU": value + 1}},
        }
        for name, value in scores.items()
    ]
    write_results(folder / "results.json", entries)
    files = [f"{letter}.jpg" for letter in "abc"[: len(correct)]]
    counts = np.array([[right, 4, 1] for right in correct], float)
    for name in scores if correct else ():
        image, classes = np.arange(len(correct)), np.zeros(len(correct), int)
        rows = {"episodes": sorted_rows(image, classes, counts)}
        record = PerImage(about | {"dataset": name}, ["ring"], {"all": [0]}, files, files, rows)
        write_per_image(per_image_file(folder, name), record)


def test_early_minus_late_over_folds_and_seeds_by_hand(tmp_path):
    """As in tests/evaluation/test_bootstrap.py; the second seed has early fusion alone."""
    correct = {("late", 0): (2, 2), ("early", 0): (4, 2), ("late", 1): (2, 1), ("early", 1): (1, 2)}
    cells = [(MINIATURE, method, fold, 0) for method, fold in correct]
    for cell in cells:
        name = f"miniature_novel_fold{cell[2]}_val"
        fake_results(folder_of(cell, tmp_path), {name: 0.0}, correct[cell[1:3]])
    cells.append((MINIATURE, "early", 0, 1))
    fake_results(folder_of(cells[-1], tmp_path), {"miniature_novel_fold0_val": 0.0}, (4, 4))
    assert difference_table(cells, tmp_path).splitlines() == [
        "| pairing | dataset | pairs of runs | early | late | early - late | early ahead | fold 0 |"
        " fold 1 |",
        "|" + " --- |" * 9,
        "| fusioner_clip_clip | miniature_novel_val | 2 | 56.2 | 43.8 | +12.5 (+12.5 to +12.5) |"
        " 1 of 2 | +25.0 (+0.0 to +50.0) | +0.0 (-25.0 to +25.0) |",
    ]


def test_runs_without_counts_or_another_method_have_no_differences(tmp_path):
    cells = [(MINIATURE, method, 0, 0) for method in ("early", "late")]
    fake_results(folder_of(cells[0], tmp_path), {"a_fold0_val": 50.0}, (1, 2))
    assert difference_table(cells, tmp_path) == ""
    fake_results(folder_of(cells[1], tmp_path), {"a_fold0_val": 50.0})
    assert difference_table(cells, tmp_path) == ""


def test_the_table_averages_folds_then_seeds(tmp_path):
    cells = [(MINIATURE, "early", fold, seed) for seed in (0, 1) for fold in (0, 1)]
    for value, cell in enumerate(cells):
        name = f"miniature_fold{cell[2]}_val"
        fake_results(folder_of(cell, tmp_path), {name: 10.0 * value})
    grid = collect(cells, tmp_path)
    assert grid.missing == []
    by_seed = grid.scores["fusioner_clip_clip", "early"]["miniature_val", "mIoU"]
    cell = summarise(by_seed)  # 0, 10 | 20, 30
    assert cell.mean == 15
    assert cell.deviation == pytest.approx(math.sqrt(200))
    assert (cell.seeds, cell.folds) == (2, 2)
    text = write_tables(grid, tmp_path)
    assert "| pairing | method | miniature_val mIoU | miniature_val FB-IoU |" in text
    assert "| fusioner_clip_clip | early | 15.0 ± 14.1 | 16.0 ± 14.1 |" in text
    content = json.loads((tmp_path / "table.json").read_text())
    assert content[0]["scores"]["miniature_val/mIoU"]["mean"] == 15


def test_a_seed_without_all_folds_does_not_count():
    cell = summarise({0: {0: 1.0, 1: 3.0}, 1: {0: 100.0}})
    assert (cell.mean, cell.seeds) == (2.0, 1)
    assert cell.deviation is None


def test_missing_cells_are_named_and_the_rest_is_drawn(tmp_path):
    cells = [(MINIATURE, method, 0, 0) for method in ("early", "late")]
    fake_results(folder_of(cells[0], tmp_path), {"a_fold0_val": 50.0, "b_val": 20.0})
    grid = collect(cells, tmp_path)
    assert grid.missing == [str(folder_of(cells[1], tmp_path))]
    draw(grid, tmp_path / "table.png")
    assert (tmp_path / "table.png").stat().st_size > 5000


def test_a_failed_cell_is_counted_and_says_why_in_its_log(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    cell = (MINIATURE, "early", 0, 0)
    failed = run_cells([cell], tmp_path)
    assert failed == 1
    assert "FAILED, see" in capsys.readouterr().out
    log = (folder_of(cell, tmp_path) / "run.log").read_text()
    assert "data prepare miniature --folds" in log


def test_cells_of_other_settings_are_not_taken_for_these(tmp_path):
    cell = (MINIATURE, "early", 0, 0)
    fake_results(folder_of(cell, tmp_path), {"a_fold0_val": 50.0})
    assert run_cells([cell], tmp_path, opts=["SOLVER.MAX_ITER", "7"]) == 0
    assert run_cells([cell], tmp_path, opts=["SOLVER.MAX_ITER", "7"]) == 0
    with pytest.raises(ValueError, match="was begun with other --opts"):
        run_cells([cell], tmp_path, opts=["SOLVER.MAX_ITER", "8"])


def test_one_cell_from_data_to_table_and_not_again(tmp_path):
    environment = {**os.environ, "DETECTRON2_DATASETS": str(tmp_path), "OMP_NUM_THREADS": "1"}
    prepare = ["datasets/prepare.py", "miniature", "--folds", "--root", str(tmp_path)]
    sizes = ["--train", "6", "--val", "4", "--mosaics", "2"]
    subprocess.run([sys.executable, *prepare, *sizes], cwd=ROOT, env=environment, check=True)
    command = [sys.executable, "tools/pairings.py", "--configs", str(MINIATURE), "--methods"]
    command += ["early", "--output", str(tmp_path / "out"), "--opts"]
    command += ["SOLVER.MAX_ITER", "2", "SOLVER.WARMUP_ITERS", "1", "SOLVER.IMS_PER_BATCH", "2"]
    first, second = (
        subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert "| fusioner_clip_clip | early |" in first.stdout
    assert "1 cells, 1 of them done before" in second.stdout
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert 0 <= table[0]["scores"]["miniature_val/mIoU"]["mean"] <= 100
    assert list((tmp_path / "out" / "features").rglob("*.safetensors"))
