"""Memory and time of semantic segmentation against the number of classes.

    frozenseg benchmark classes --config-file configs/fcclip/r50.yaml

Runs a model with random weights on one random image, each case in a process of its own: with the
labels alone, as evaluations compute them, and with the scores (C, H, W) of all classes. Text is
left out (random embeddings). Memory is that of the process above what it holds before the image;
time is that of the processor, so that other programs matter less.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from frozenseg.cli.options import add_shared, whole
from frozenseg.files import environment_of_children, write_json

CLASSES = (19, 150, 459, 847, 1203)
MODES = ("labels", "scores")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--config-file", default="configs/fcclip/r50.yaml", metavar="YAML")
    add("--classes", type=whole(1), nargs="+", default=CLASSES, metavar="C")
    for name, what in (("--size", "output"), ("--input", "image")):
        add(
            name,
            type=whole(1, 65_536),
            nargs=2,
            default=(512, 683),
            metavar=("H", "W"),
            help=f"of the {what}",
        )
    add_shared(parser, "--runs", "--threads", "--json")
    add("--case", nargs=2, metavar=("C", "MODE"), help=argparse.SUPPRESS)


def main(args: argparse.Namespace) -> None:
    """Runs every case and prints the table."""
    if args.case:
        print(json.dumps(measure(args, int(args.case[0]), args.case[1])))
        return
    from tabulate import tabulate

    from frozenseg.benchmarking.clock import MachineWatch

    rows, watch = [], MachineWatch()
    for classes in args.classes:
        figures = {mode: run_case(args, classes, mode) for mode in MODES}
        rows.append({"classes": classes, **figures})
        print(f"{classes} classes: {figures}", file=sys.stderr, flush=True)
    height, width = args.size
    print(f"{Path(args.config_file).name}, output {height}x{width}, {args.threads} threads")
    headers = ["classes", "(C, H, W) in MB"]
    headers += [f"{what}, {mode}" for what in ("memory in MB", "CPU seconds") for mode in MODES]
    table = [
        [row["classes"], row["classes"] * height * width * 4 / 2**20]
        + [row[mode][what] for what in ("megabytes", "seconds") for mode in MODES]
        for row in rows
    ]
    print(tabulate(table, headers=headers, floatfmt=(".0f", ".0f", ".0f", ".0f", ".2f", ".2f")))
    print(watch.load())
    if args.json:
        write_json(args.json, rows)


def run_case(args: argparse.Namespace, classes: int, mode: str) -> dict[str, float]:
    """Measures one case in a new process."""
    words = ["--config-file", args.config_file, "--runs", str(args.runs)]
    words += ["--threads", str(args.threads), "--case", str(classes), mode]
    words += ["--size", *map(str, args.size), "--input", *map(str, args.input)]
    command = [sys.executable, "-W", "ignore", "-m", "frozenseg", "benchmark", "classes", *words]
    done = subprocess.run(
        command, env=environment_of_children(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(args: argparse.Namespace, classes: int, mode: str) -> dict[str, float]:
    """Megabytes above the model's own, and median CPU seconds of the whole call."""
    import torch

    from frozenseg.benchmarking.measures import benchmark_config, benchmark_model, random_text
    from frozenseg.vocab import Vocabulary

    torch.set_num_threads(args.threads)
    # Without the words of its test set.
    model = benchmark_model(benchmark_config(args.config_file, ["DATASETS.TEST", "()"]))
    model.set_vocabulary(Vocabulary.from_names([f"class {index}" for index in range(classes)]))
    random_text(model)
    model.task_settings = replace(
        model.task_settings,
        semantic=True,
        panoptic=False,
        instance=False,
        semantic_argmax_only=mode == "labels",
    )
    image = torch.randint(0, 256, (3, *args.input), dtype=torch.uint8)
    sample = {"image": image, "height": args.size[0], "width": args.size[1]}
    before = _resident()
    seconds = []
    for _ in range(args.runs):
        start = time.process_time()
        with torch.no_grad():
            model([sample])
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"megabytes": peak - before, "seconds": statistics.median(seconds)}


def _resident() -> float:
    """Megabytes that this process holds (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
