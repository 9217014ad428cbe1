"""The curves of a pretraining as one picture."""

from __future__ import annotations

import json
from pathlib import Path


def plot_log(log_file: Path, picture: Path, *, title: str) -> None:
    """Draws every figure of the log (one JSON object per line) over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in log_file.read_text(encoding="utf-8").splitlines()]
    names = sorted({name for row in rows for name in row} - {"step", "progress", "seconds"})
    losses = [name for name in names if name.startswith("loss")]
    shares = [name for name in names if name not in losses and name != "gradient_norm"]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    for axis, group in zip(axes, (losses, shares), strict=True):
        for name in group:
            points = [(row["step"], row[name]) for row in rows if name in row]
            axis.plot(*zip(*points, strict=True), label=name)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if group:
            axis.legend()
    axes[1].set_ylim(0, 1)
    figure.suptitle(title)
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)
