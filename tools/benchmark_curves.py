"""Time and memory of one call against the image's size, queries, classes and images of a batch.

    python tools/benchmark_curves.py --output output/curves

Every point is a process of its own: FC-CLIP R50 with random weights and random text vectors (words
are embedded once, whatever the image), 512 x 512 pixels, 250 queries and 150 classes but for what
the axis says. Written are curves.json, kept after every point, so that a run that is cut goes on,
and curves.svg. Seconds are those of the processor, of all threads; memory is the whole process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from frozenseg.files import read_json, write_json
from tools.benchmark_export import random_segmenter

CONFIG = str(ROOT / "configs" / "fcclip" / "r50.yaml")
USUAL = {"pixels of a side": 512, "queries": 250, "classes": 150, "images of a batch": 1}
AXES = {
    "pixels of a side": (256, 512, 1024, 1536, 2048),
    "queries": (50, 100, 250, 500, 1000),
    "classes": (10, 150, 1000, 5000, 20000),
    "images of a batch": (1, 2, 4, 8),
}
FIGURES = ("processor seconds", "peak GB")


def measure(point: dict[str, int], *, threads: int, runs: int, config: str) -> dict[str, Any]:
    """The figures of a point, in this process."""
    import numpy as np
    import torch

    from frozenseg.benchmarking.clock import MachineWatch, Nanoseconds, medians
    from frozenseg.benchmarking.measures import peak_memory, random_text
    from frozenseg.predict.words import read_words

    torch.set_num_threads(threads)
    size, queries, classes, images = (point[name] for name in AXES)
    opts = {"INPUT.MIN_SIZE_TEST": size, "INPUT.MAX_SIZE_TEST": size}
    opts["MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"] = queries
    segmenter = random_segmenter(config, [str(word) for pair in opts.items() for word in pair])
    model = segmenter.predictor.model
    words = read_words([f"word {number}" for number in range(classes)])
    model.set_vocabulary(words)
    random_text(model)
    draw = np.random.default_rng(0)
    batch = [draw.integers(0, 256, (size, size, 3), dtype=np.uint8) for _ in range(images)]
    segmenter.batch(batch, words)
    watch, taken = MachineWatch(), []
    for _ in range(runs):
        start = Nanoseconds.now()
        segmenter.batch(batch, words)
        taken.append({"call": Nanoseconds.now().minus(start)})
    machine = str(watch.load())
    return {**medians(taken)["call"].seconds, "peak GB": peak_memory("cpu"), "machine": machine}


def points() -> list[dict[str, int]]:
    """Every point of every axis once."""
    found: list[dict[str, int]] = []
    for axis, values in AXES.items():
        found += [p for value in values if (p := {**USUAL, axis: value}) not in found]
    return found


def draw_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """A panel per axis: processor seconds and gigabytes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "curves"  # the same file each time
    from matplotlib import pyplot as plt
    from matplotlib.ticker import ScalarFormatter

    figure, panels = plt.subplots(1, len(AXES), figsize=(13, 3.4), layout="constrained")
    for panel, axis in zip(panels, AXES, strict=True):
        others = {name: value for name, value in USUAL.items() if name != axis}
        shown = [row for row in rows if others.items() <= row.items()]
        shown.sort(key=lambda row: row[axis])
        for name, marker in zip(FIGURES, "os", strict=True):
            values = [row[name] for row in shown]
            panel.plot([row[axis] for row in shown], values, marker=marker, label=name)
        panel.set(xscale="log", yscale="log", xlabel=axis, xticks=AXES[axis])
        panel.set_ylim(0.5, 200)
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.yaxis.set_major_formatter(ScalarFormatter())
        panel.minorticks_off()
        panel.tick_params(axis="x", labelrotation=45)
        panel.grid(alpha=0.3)
    panels[0].legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measures what curves.json lacks, then draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="FOLDER")
    add("--config-file", default=CONFIG, metavar="YAML")
    add("--threads", type=int, default=2)
    add("--runs", type=int, default=3)
    add("--measure", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        figures = measure(
            args.measure, threads=args.threads, runs=args.runs, config=args.config_file
        )
        print(json.dumps(figures))
        return
    from tabulate import tabulate
    from tqdm import tqdm

    args.output.mkdir(parents=True, exist_ok=True)
    kept = args.output / "curves.json"
    rows = read_json(kept) if kept.is_file() else []
    for point in tqdm(points(), unit="point"):
        if any(point.items() <= row.items() for row in rows):
            continue
        command = [sys.executable, __file__, *sys.argv[1:], "--measure", json.dumps(point)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append({**point, **json.loads(done.stdout.splitlines()[-1])})
        write_json(kept, rows)
    draw_curves(rows, args.output / "curves.svg")
    table = [{name: value for name, value in row.items() if name != "machine"} for row in rows]
    print(tabulate(table, headers="keys", tablefmt="github", floatfmt=".2f"))


if __name__ == "__main__":
    main()
