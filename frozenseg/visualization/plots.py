"""Plots of a training: losses against iterations, and the scores of its evaluation."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The Okabe-Ito palette: told apart with every kind of colour vision.
BLACK, GREY, ORANGE, BLUE, GREEN = "#000000", "#777777", "#e69f00", "#0072b2", "#009e73"
KINDS = {
    "total_loss": ("total", BLACK),
    "loss_ce": ("class", BLUE),
    "loss_mask": ("mask (binary cross-entropy)", ORANGE),
    "loss_dice": ("mask (dice)", GREEN),
}
GROUPS = {"all": GREY, "seen": BLUE, "unseen": ORANGE}
_LAYER = re.compile(r"_\d+$")  # "loss_ce_3" is that of the decoder's layer 3

Scores = Mapping[str, Mapping[str, float | None]]


def plot_training(metrics_json: Path, path: Path, scores: Scores | None = None) -> None:
    """Writes a PNG: the loss and its kinds against iterations and, if given, scores as bars.

    Args:
        metrics_json: detectron2's file, one JSON object per line.
        path: of the PNG; it is there completely or not at all.
        scores: score -> group of classes -> percent, {"PQ": {"all": 50.1, "unseen": None}}; None
            and missing groups are left out.
    Raises: the errors of `read_losses`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses = read_losses(metrics_json)
    panels = 2 if scores else 1
    figure = Figure(figsize=(6.4 * panels, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, panels, squeeze=False)[0]
    _draw_losses(axes[0], losses)
    if scores:
        _draw_scores(axes[1], scores)
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=120))


def read_losses(metrics_json: Path) -> dict[str, dict[int, float]]:
    """Loss (a key of `KINDS`) -> iteration -> value, the kinds summed over all decoder layers.

    Where a training was resumed or started again in the same folder, the file goes back to an
    earlier iteration; what was written before from there on is left out.
    Raises: FileNotFoundError; ValueError for a line that is not a JSON object, and without losses.
    """
    if not metrics_json.is_file():
        raise FileNotFoundError(f"{metrics_json} does not exist: train first (frozenseg train)")
    rows: dict[int, Mapping[str, Any]] = {}
    for number, line in enumerate(metrics_json.read_text(encoding="utf-8").splitlines(), start=1):
        row = _parse(line, f"{metrics_json}, line {number}")
        if "total_loss" in row:
            now = int(row["iteration"])
            rows = {each: kept for each, kept in rows.items() if each < now}
            rows[now] = row
    if not rows:
        raise ValueError(f"{metrics_json}: has no losses (a training writes some every 20 steps)")
    losses: dict[str, dict[int, float]] = {kind: defaultdict(float) for kind in KINDS}
    for iteration, logged in rows.items():
        for name, value in logged.items():
            kind = _LAYER.sub("", name)
            if kind in KINDS:
                losses[kind][iteration] += value
    return {kind: dict(values) for kind, values in losses.items() if values}


def _parse(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: not valid JSON ({error}); delete the line") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: not a JSON object; is this detectron2's metrics.json?")
    return row


def _draw_losses(axes: Axes, losses: Mapping[str, Mapping[int, float]]) -> None:
    for kind, values in losses.items():
        label, color = KINDS[kind]
        marker = "o" if len(values) == 1 else None
        axes.plot(list(values), list(values.values()), color=color, label=label, marker=marker)
    axes.set(xlabel="iteration", ylabel="loss (median of 20 iterations)", title="training loss")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.3)
    axes.legend()


def _draw_scores(axes: Axes, scores: Scores) -> None:
    """Bars side by side for the groups, their values above them."""
    width = 0.8 / len(GROUPS)
    for place, (group, color) in enumerate(GROUPS.items()):
        offset = (place - (len(GROUPS) - 1) / 2) * width
        found = [(x, row.get(group)) for x, row in enumerate(scores.values())]
        known = [(x + offset, value) for x, value in found if value is not None]
        if known:
            centers, heights = zip(*known, strict=True)
            drawn = axes.bar(centers, heights, width=width, color=color, label=group)
            axes.bar_label(drawn, fmt="%.0f", fontsize="small")
    axes.set_xticks(range(len(scores)), list(scores))
    axes.set_yticks(range(0, 101, 20))
    axes.set(ylabel="percent", ylim=(0, 115), title="scores of all, seen and unseen classes")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.legend(loc="upper center", ncols=len(GROUPS))  # above bars of up to 100 percent
