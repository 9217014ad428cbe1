"""Seconds and memory of one image: the model, compiled, and its exports, each in its own process.

    python tools/benchmark_export.py configs/fcclip/r50.yaml --folder exported/benchmark_r50

The weights are random, and the exports are written once into the folder. What is timed is a whole
call of a segmenter, after one that is not; seconds of the processor are those of all threads.
Random weights leave hardly any segment, so that the call is the networks. onnxruntime takes as many
threads as the machine has cores, PyTorch `--threads`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

WORDS = "cat, kitten; dog; person; car; tree:stuff; grass:stuff; sky:stuff; water:stuff"
EXPORTS = {"onnxruntime float32": "float32", "onnxruntime int8": "int8"}
VARIANTS = ("eager", "compiled", *EXPORTS)


def random_segmenter(config: str, opts: Sequence[str] = (), *, compile: bool = False) -> Any:
    """A segmenter on the CPU with random weights, also of the encoders."""
    import frozenseg
    from frozenseg.benchmarking.measures import RANDOM_ENCODERS

    opts = [*RANDOM_ENCODERS, *opts]
    return frozenseg.load(config, weights="", device="cpu", opts=opts, compile=compile)


def sized(args: argparse.Namespace) -> list[str]:
    """Config pairs with which images get the size of the benchmark."""
    return ["INPUT.MIN_SIZE_TEST", str(args.size)]


def write_exports(args: argparse.Namespace) -> None:
    """Writes what is missing: the export, and the same folder with an image.onnx in int8."""
    from frozenseg.exporting.export import export, quantised
    from frozenseg.exporting.manifest import FILE_NAME

    whole, small = (args.folder / name for name in EXPORTS.values())
    if not (whole / FILE_NAME).is_file():
        export(random_segmenter(args.config, sized(args)), whole)
    if not small.is_dir():
        with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
            copied = Path(shutil.copytree(whole, Path(scratch) / "whole"))
            parts = list(quantised(copied / "image.onnx").parent.iterdir())
            made = Path(shutil.copytree(whole, Path(scratch) / "made"))
            for part in parts:
                part.replace(made / part.name)
            made.replace(small)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """The figures of the variant `--measure`, in this process."""
    import numpy as np

    from frozenseg.benchmarking.clock import MachineWatch, Nanoseconds, medians
    from frozenseg.benchmarking.measures import peak_memory

    if args.measure in EXPORTS:
        from frozenseg.exporting.runtime import ExportedSegmenter

        segmenter: Any = ExportedSegmenter(args.folder / EXPORTS[args.measure], device="cpu")
    else:
        import torch

        torch.set_num_threads(args.threads)
        compiled = args.measure == "compiled"
        segmenter = random_segmenter(args.config, sized(args), compile=compiled)
    image = np.random.default_rng(0).integers(0, 256, (args.size, args.size, 3), dtype=np.uint8)
    start = Nanoseconds.now()
    segmenter(image, WORDS)
    first = Nanoseconds.now().minus(start)
    watch, runs = MachineWatch(), []
    for _ in range(args.runs):
        start = Nanoseconds.now()
        segmenter(image, WORDS)
        runs.append({"call": Nanoseconds.now().minus(start)})
    return {
        "variant": args.measure,
        **medians(runs)["call"].seconds,
        "first call": first.seconds["processor seconds"],
        "peak GB": peak_memory("cpu"),
        "machine": str(watch.load()),
    }


def main() -> None:
    """Writes what is missing, then measures one variant after another."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("config", metavar="YAML")
    add("--folder", type=Path, required=True, help="of the exports: kept, and taken if there")
    add("--size", type=int, default=640, help="pixels of a side")
    add("--threads", type=int, default=2)
    add("--runs", type=int, default=3)
    add("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    add("--measure", choices=VARIANTS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args)))
        return
    from tabulate import tabulate

    write_exports(args)
    rows = []
    for variant in args.variants:
        command = [sys.executable, __file__, *sys.argv[1:], "--measure", variant]
        environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
        done = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
        row = json.loads(done.stdout.splitlines()[-1])
        print(row, flush=True)
        del row["machine"]
        rows.append(row)
    print(tabulate(rows, headers="keys", floatfmt=".2f"))


if __name__ == "__main__":
    main()
