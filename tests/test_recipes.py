"""configs/recipes/: each gives a batch that its machine can share, by the learning-rate rule."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from frozenseg.config import load_config
from frozenseg.engine.trainer import accumulation_steps

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RECIPES = sorted((CONFIGS / "recipes").glob("*.yaml"))
MODELS = ("fcclip/convnext_large.yaml", "frozenseg/convnext_large.yaml")
# Images that a GPU takes at a time; two fill at most the 32 GB of the authors' GPUs.
AT_A_TIME = {"1x24gb": 1, "1x80gb": 4, "4x": 2, "8x": 2}


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_follows_the_rule_and_fits_its_gpus(path, model):
    cfg = load_config(CONFIGS / model, recipe=path)
    released, solver = load_config(CONFIGS / model).SOLVER, cfg.SOLVER
    factor = solver.IMS_PER_BATCH / released.IMS_PER_BATCH
    relative_rate = solver.BASE_LR / released.BASE_LR
    assert relative_rate == pytest.approx(factor)
    assert solver.MAX_ITER * factor == pytest.approx(released.MAX_ITER, abs=1)
    assert list(solver.STEPS) == pytest.approx([s / factor for s in released.STEPS], abs=1)
    gpus = int(path.stem.split("x")[0])
    steps = accumulation_steps(cfg, gpus)
    assert solver.IMS_PER_BATCH / gpus / steps == AT_A_TIME[path.stem]


def test_there_is_a_recipe_for_every_machine_named():
    assert {path.stem for path in RECIPES} == set(AT_A_TIME)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_says_command_rule_and_what_is_an_estimate(path):
    header = path.read_text(encoding="utf-8").split("SOLVER:")[0]
    assert f"--recipe configs/recipes/{path.name}" in header
    assert "1e-4 * n / 16" in header
    assert re.search(r"Time: (estimate|the authors)", header)
    assert "nothing was measured here" in header


def test_words_on_the_command_line_go_before_the_recipe():
    recipe = CONFIGS / "recipes" / "4x.yaml"
    cfg = load_config(CONFIGS / MODELS[0], ["SOLVER.IMS_PER_BATCH", "8"], recipe=recipe)
    assert cfg.SOLVER.IMS_PER_BATCH == 8


def test_a_value_of_a_recipe_that_is_out_of_range_names_the_recipe(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("SOLVER: {MAX_ITER: 0}")
    with pytest.raises(ValueError, match=r"^\S+/mine\.yaml: SOLVER\.MAX_ITER expects a whole"):
        load_config(CONFIGS / MODELS[0], recipe=recipe)


def test_a_missing_recipe_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(CONFIGS / MODELS[0], recipe=tmp_path / "none.yaml")
