"""Measures where the time and the memory of one image go, for any config and image size.

    frozenseg benchmark --config-file configs/fcclip/r50.yaml --random-weights

Prints a table of stages (medians of the runs after warm-up, wall and processor seconds) with
parameters and FLOPs, whether other programs used the machine meanwhile, the cost of the text
embeddings with a cold and a warm cache, that of a change of words on the loaded model, and the peak
memory; `--json` keeps it all.
Compare figures of one run only; processor seconds (of all threads) where the machine was loaded.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.cli.options import add_shared, whole
from frozenseg.device import TOWER_PRECISIONS
from frozenseg.files import write_json

if TYPE_CHECKING:
    from frozenseg.benchmarking.clock import MachineLoad


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--config-file", required=True, metavar="YAML")
    add("--size", type=whole(1, 65_536), nargs=2, default=(640, 640), metavar=("H", "W"))
    add("--weights", default="", help="checkpoint; default: random decoder")
    add(
        "--random-weights",
        action="store_true",
        help="random CLIP and SAM weights instead of the config's (nothing is downloaded)",
    )
    add("--vocabulary", default="", help="table, file or words; default: config")
    add_shared(parser, "--runs", default=5)
    add("--warmup", type=whole(0), default=2, help="runs before timing (default 2)")
    add_shared(parser, "--threads", default=2)
    add(
        "--precision",
        choices=TOWER_PRECISIONS,
        help="of the frozen encoders; the decoder stays float32 (default: the config's)",
    )
    add("--device", default="cpu", help="cpu or cuda (default cpu)")
    add(
        "--training",
        action="store_true",
        help="time one training iteration (one image, a square crop of --size's first number) by "
        "stage, the data mapper and the loader, instead of the segmentation of an image",
    )
    add("--skip-text", action="store_true", help="random text embeddings instead")
    add(
        "--text-sample",
        type=whole(0),
        default=128,
        help="prompts timed at the full context length, to compare with (0: none; default 128)",
    )
    add(
        "--words",
        type=whole(0),
        default=150,
        help="words of the vocabularies that the change of words is timed with (0: not timed; "
        "default 150)",
    )
    add_shared(parser, "--json")
    add("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")


def build(args: argparse.Namespace, cache: str) -> tuple[Any, Any]:
    """The model of the config, in test mode on the device, with the wanted words; the config."""
    from frozenseg.benchmarking.measures import benchmark_config, benchmark_model
    from frozenseg.predict.words import read_vocabulary
    from frozenseg.progress import lines_on_stderr

    own = {"MODEL.DEVICE": args.device, "MODEL.TEXT_CACHE_DIR": cache}
    if args.weights:
        own["MODEL.WEIGHTS"] = args.weights
    opts = [*args.opts, *(word for pair in own.items() for word in pair)]
    cfg = benchmark_config(args.config_file, opts, random_encoders=args.random_weights)
    if cfg.MODEL.META_ARCHITECTURE == "Fusioner":
        raise ValueError(
            f"{args.config_file} is a Fusioner: frozenseg benchmark fusioner measures it"
        )
    with lines_on_stderr():
        model = benchmark_model(cfg)
    if args.precision:
        for tower in filter(None, (model.backbone, model.sam)):
            tower.precision = args.precision
    if args.vocabulary:
        model.set_vocabulary(read_vocabulary(args.vocabulary))
    return model, cfg


def train(args: argparse.Namespace, model: Any, cfg: Any) -> dict[str, Any]:
    """Measures a training iteration, and prints the table."""
    from tabulate import tabulate

    from frozenseg.benchmarking import measures
    from frozenseg.benchmarking.clock import MachineWatch
    from frozenseg.benchmarking.training import STAGES, measure_training

    model.set_vocabulary(model.train_vocabulary)
    measures.random_text(model)
    watch = MachineWatch()
    figures = measure_training(
        model, cfg, args.size[0], runs=args.runs, warmup=args.warmup, device=args.device
    )
    machine = watch.load()
    figures |= {"machine": machine.figures, "peak memory (GB)": measures.peak_memory(args.device)}
    print(
        f"\n{args.config_file}: one training iteration, crop {args.size[0]}x{args.size[0]}, "
        f"{args.device}, {args.threads} threads, median of {args.runs} runs after {args.warmup}"
    )
    rows = [
        [name, figures["seconds"][name], figures["processor seconds"][name]]
        for name in (*STAGES, "total")
    ]
    print(tabulate(rows, headers=["stage", "seconds", "processor"], floatfmt=".3f"))
    print(machine)
    print(f"peak memory: {figures['peak memory (GB)']:.2f} GB")
    for workers, rate in figures["images/s of the loader"].items():
        print(f"training loader, {workers} workers: {rate:.1f} images/s")
    return figures


def report(
    args: argparse.Namespace, model: Any, figures: dict[str, Any], machine: MachineLoad
) -> None:
    """Prints the tables."""
    from tabulate import tabulate

    from frozenseg.benchmarking.measures import HEADS, STAGES

    seconds, gflop, million = figures["seconds"], figures["gflop"], figures["parameters (M)"]
    processor = figures["processor seconds"]
    parts = [name for name in ("mask resize, sigmoid", *HEADS) if name in seconds]
    labels = {name: name for name in STAGES if name in seconds} | {
        name: f"- {name}" for name in parts
    }
    rows = [
        [
            label,
            seconds[name],
            processor[name],
            seconds[name] / seconds["backbone"],
            gflop.get(name),
            million.get(name),
        ]
        for name, label in {**labels, "other": "other", "total": "total"}.items()
    ]
    height, width = args.size
    print(
        f"\n{args.config_file}: {height}x{width}, {len(model.vocabulary)} classes, "
        f"{figures['queries']} queries, {args.device}, "
        f"encoders in {model.backbone.precision}, "
        f"{args.threads} threads, median of {args.runs} runs after {args.warmup}"
    )
    headers = ["stage", "seconds", "processor", "/ backbone", "GFLOP", "parameters (M)"]
    print(tabulate(rows, headers=headers, floatfmt=".3f"))
    print(machine)
    ratio = (seconds["total"] - seconds["backbone"]) / seconds["backbone"]
    print(f"(total - backbone) / backbone: {ratio:.2f}")
    if "SAM encoder" in seconds:
        print(f"SAM encoder / backbone: {seconds['SAM encoder'] / seconds['backbone']:.2f}")
    print(f"peak memory: {figures['peak memory (GB)']:.2f} GB")
    for name, value in figures.get("text", {}).items():
        print(f"text {name}: {value:.3f}" if isinstance(value, float) else f"text {name}: {value}")
    if "change of words" in figures:
        print("\nchange of words on the loaded model")
        print(tabulate(figures["change of words"], headers="keys", floatfmt=".4f"))


def main(args: argparse.Namespace) -> int:
    """Measures, prints, and writes the figures to `--json`."""
    import torch

    from frozenseg.benchmarking import measures
    from frozenseg.benchmarking.clock import MachineWatch
    from frozenseg.benchmarking.words import measure_change_of_words

    torch.set_num_threads(args.threads)
    figures: dict[str, Any] = {"config": args.config_file, "size": list(args.size)}
    with tempfile.TemporaryDirectory() as cache:
        model, cfg = build(args, cache)
        if args.training:
            figures |= train(args, model, cfg) | {"threads": args.threads}
            if args.json:
                write_json(args.json, figures)
            return 0
        if args.skip_text:
            measures.random_text(model)
        else:
            figures["text"] = measures.measure_text(model, args.text_sample)
            if args.words:
                figures["change of words"] = measure_change_of_words(
                    model, args.words, Path(cache) / "words", measures.waiting(args.device)
                )
        watch = MachineWatch()
        figures |= measures.measure_image(
            model, args.size, runs=args.runs, warmup=args.warmup, device=args.device
        )
        machine = watch.load()
        figures["machine"] = machine.figures
        figures["peak memory (GB)"] = measures.peak_memory(args.device)
        figures["gflop"] = measures.measure_flops(model, args.size)
        figures["queries"] = measures.count_queries(model)
        figures["parameters (M)"] = measures.parameters(model)
    figures["threads"], figures["torch"] = args.threads, torch.__version__
    report(args, model, figures, machine)
    if args.json:
        write_json(args.json, figures)
    return 0
