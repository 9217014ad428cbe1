import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frozenseg.visualization.plots import BLUE, GREY, ORANGE, plot_training, read_losses


def rows_of(iterations, scale=1.0):
    """What detectron2 writes: a total, three kinds for the last layer and two others."""
    rows = []
    for iteration in iterations:
        kinds = {"loss_ce": 2.0, "loss_mask": 3.0, "loss_dice": 5.0}
        row = {
            name + suffix: v * scale for name, v in kinds.items() for suffix in ("", "_0", "_10")
        }
        rows.append({"iteration": iteration, "lr": 0.1, "total_loss": 30.0 * scale, **row})
    return rows


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def pixels(path, color):
    image = np.asarray(Image.open(path).convert("RGB"))
    wanted = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((image == wanted).all(-1).sum())


def test_kinds_are_summed_over_the_layers_and_add_up_to_the_total(tmp_path):
    losses = read_losses(write(tmp_path / "metrics.json", rows_of([19, 39])))
    assert losses["loss_ce"] == {19: 6.0, 39: 6.0}
    assert losses["loss_mask"] == {19: 9.0, 39: 9.0}
    assert losses["loss_dice"] == {19: 15.0, 39: 15.0}
    kinds = [losses[kind][19] for kind in ("loss_ce", "loss_mask", "loss_dice")]
    assert sum(kinds) == losses["total_loss"][19]


def test_a_resumed_training_replaces_what_it_repeats(tmp_path):
    rows = [*rows_of([19, 39, 59]), *rows_of([39], scale=2), {"iteration": 40, "PQ": 3.0}]
    losses = read_losses(write(tmp_path / "metrics.json", rows))
    assert losses["total_loss"] == {19: 30.0, 39: 60.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no losses"),
        ('{"iteration": 3, "PQ": 1.0}\n', "has no losses"),
        ('{"iteration": 3, "total_loss": 1.0}\n{"iter', "line 2: not valid JSON"),
        ("[1]\n", "line 1: not a JSON object"),
    ],
)
def test_what_is_no_log_of_losses_is_an_error(text, message, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_losses(path)
    with pytest.raises(FileNotFoundError, match="train first"):
        read_losses(tmp_path / "none.json")


@pytest.mark.slow
def test_the_plot_shows_losses_and_the_scores_that_are_there(tmp_path):
    log, path = write(tmp_path / "metrics.json", rows_of([19, 39])), tmp_path / "out" / "curves.png"
    plot_training(log, path)
    alone, without = Image.open(path).size, pixels(path, GREY)
    scores = {
        "PQ": {"all": 50.0, "seen": 60.0, "unseen": 20.0},
        "AP": {"all": 50.0, "seen": None},
    }
    plot_training(log, path, scores)
    assert Image.open(path).size == (2 * alone[0], alone[1])
    grey, blue, orange = (pixels(path, color) for color in (GREY, BLUE, ORANGE))
    assert grey > 2.5 * orange  # 50 + 50 percent against 20
    assert blue > 2 * orange  # 60 percent against 20
    assert grey > without
    assert [each.name for each in path.parent.iterdir()] == ["curves.png"]


@pytest.mark.slow
def test_a_failed_plot_leaves_the_old_one(tmp_path, monkeypatch):
    log, path = write(tmp_path / "metrics.json", rows_of([19])), tmp_path / "out" / "curves.png"
    plot_training(log, path)
    before = path.read_bytes()

    def fail(figure, part, **_):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        plot_training(log, path)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == ["curves.png"]


@pytest.mark.slow
def test_plots_need_no_screen(tmp_path):
    log = write(tmp_path / "metrics.json", rows_of([19]))
    code = (
        "import sys; from pathlib import Path\n"
        "from frozenseg.visualization.plots import plot_training\n"
        f"plot_training(Path({str(log)!r}), Path({str(tmp_path / 'curves.png')!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules and 'torch' not in sys.modules"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, env={"DISPLAY": ":77"}, check=True)
