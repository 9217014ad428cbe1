#!/usr/bin/env python
"""The whole way in a few minutes: data, training, evaluation, pictures (`make quickstart`).

Every step is a command that a real experiment uses too, and is printed before it runs; only the
sizes are small. Results go to output/quickstart/. If a step fails, this stops with its exit code.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from frozenseg import cli

CONFIG = ROOT / "configs" / "quickstart" / "shapes_fcclip.yaml"
PHOTOS = ("china.jpg", "flower.jpg")
PHOTO_WORDS = "temple, pagoda; tree, bush; sky:stuff; lake, water:stuff; flower; leaf:stuff"
SHAPE_PICTURES = 4
TOLERANCE = 1e-6  # between the scores after training and those of the checkpoint


class Step(NamedTuple):
    """A command of the way: its name, what it does, script and arguments."""

    name: str
    meaning: str
    words: tuple[str, ...]


class Size(NamedTuple):
    """How much is done: images of both splits, and config keys that change."""

    train: int = 400
    val: int = 50
    opts: tuple[str, ...] = ()


SMALL = Size(train=8, val=SHAPE_PICTURES, opts=("SOLVER.MAX_ITER", "4", "SOLVER.STEPS", "(3,)"))


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="default: output/quickstart of this repository, output/quickstart-fast with --fast",
    )
    parser.add_argument(
        "--photos", nargs="+", metavar="FILE", help="default: the two that scikit-learn carries"
    )
    parser.add_argument("--words", default=PHOTO_WORDS, help="for the photographs: %(default)r")
    parser.add_argument("--resume", action="store_true", help="continue an interrupted training")
    parser.add_argument(
        "--fast", action="store_true", help="4 iterations: shows that all runs, learns nothing"
    )
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Runs the steps; returns the exit code of the first that fails, or 0."""
    start = time.perf_counter()
    size = SMALL if args.fast else Size()
    default = ROOT / "output" / ("quickstart-fast" if args.fast else "quickstart")
    output = (args.output or default).expanduser().absolute()
    photos = args.photos or sample_photos()
    output.mkdir(parents=True, exist_ok=True)
    steps = plan(output, photos, args.words, size, resume=args.resume)
    for number, step in enumerate(steps, start=1):
        code = run_step(step, f"[{number}/{len(steps)}]", environment(output))
        if code:
            return code
    report(output, time.perf_counter() - start)
    return 0


def plan(
    output: Path, photos: list[str], words: str, size: Size, *, resume: bool = False
) -> list[Step]:
    """The commands, in order."""
    training = output / "training"
    weights = str(training / "model_final.pth")
    config = ("--config-file", str(CONFIG))
    counts = ("--train", str(size.train), "--val", str(size.val))
    shapes = [str(output / f"datasets/shapes/val/{i:06d}.jpg") for i in range(SHAPE_PICTURES)]
    again = ("--resume",) if resume else ()
    return [
        Step(
            "data",
            "write the synthetic shapes, in COCO's panoptic format",
            ("datasets/prepare_shapes.py", "--root", str(output / "datasets"), *counts),
        ),
        Step(
            "training",
            "train the mask decoder over a frozen CLIP, then score it",
            ("train_net.py", *config, *again, "OUTPUT_DIR", str(training), *size.opts),
        ),
        Step(
            "evaluation",
            "score the checkpoint again",
            ("train_net.py", *config, "--eval-only", "OUTPUT_DIR", str(output / "evaluation"))
            + ("MODEL.WEIGHTS", weights, *size.opts),
        ),
        Step(
            "shapes",
            "segment shapes that it was not trained on",
            ("demo/demo.py", *config, "--weights", weights, "--input", *shapes)
            + ("--output", str(output / "shapes")),
        ),
        Step(
            "photographs",
            "segment photographs with your own words",
            ("demo/demo.py", *config, "--weights", weights, "--input", *photos)
            + ("--vocabulary", words, "--output", str(output / "photographs"))
            + ("--opts", "INPUT.MIN_SIZE_TEST", "320"),
        ),
    ]


def environment(output: Path) -> dict[str, str]:
    """The caller's environment; data and caches of this run lie in its own folder."""
    values = dict(os.environ)
    values["DETECTRON2_DATASETS"] = str(output / "datasets")
    values["FROZENSEG_CACHE"] = str(output / "cache")
    # Threads that wait without spinning: much faster where other programs use the cores too.
    values.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # torch 2.14 warns on each import that fvcore scripts its losses; nothing here can change that.
    values.setdefault("PYTHONWARNINGS", "ignore:`torch.jit.script:FutureWarning")
    return values


def run_step(step: Step, position: str, variables: dict[str, str]) -> int:
    """Runs one command with its output on this terminal; returns its exit code."""
    script, *words = step.words
    print(f"\n{position} {step.name}: {step.meaning}")
    print(f"$ python {shlex.join([script, *words])}", flush=True)
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / script), *words]
    code = subprocess.run(command, env=variables, check=False).returncode
    seconds = time.perf_counter() - start
    if code:
        code = code if code > 0 else 1
        message = f"error: step {step.name!r} failed with exit code {code} after {seconds:.0f} s"
        print(f"{message}; its command and messages stand above", file=sys.stderr)
        return code
    print(f"{position} {step.name}: done in {seconds:.0f} s", flush=True)
    return 0


def sample_photos() -> list[str]:
    """The two photographs of scikit-learn's package, without importing it."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "scikit-learn is not installed, which carries the sample photographs: "
            "pip install scikit-learn, or name your own with --photos"
        )
    folder = Path(spec.origin).parent / "datasets" / "images"
    missing = [name for name in PHOTOS if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} has no {missing[0]}: name your own with --photos")
    return [str(folder / name) for name in PHOTOS]


def scores(folder: Path) -> dict[str, float]:
    """PQ and mIoU in percent from the results.json of a folder."""
    from frozenseg.evaluation.results import read_results

    metrics = read_results(folder / "results.json")[0]["metrics"]
    return {
        "PQ": metrics["panoptic"]["all"]["PQ"],
        "mIoU": metrics["semantic"]["ground_truth"]["all"]["mIoU"],
    }


def report(output: Path, seconds: float) -> None:
    """Prints the scores and where everything is.

    Raises: ValueError if the checkpoint's scores are not those after training.
    """
    trained, again = scores(output / "training"), scores(output / "evaluation")
    for name, value in trained.items():
        if abs(value - again[name]) > TOLERANCE:
            raise ValueError(
                f"{name} was {value:.4f} after training but {again[name]:.4f} from the checkpoint "
                f"{output / 'training' / 'model_final.pth'}: please report this"
            )
    places = {
        "checkpoint": output / "training" / "model_final.pth",
        "scores": output / "evaluation" / "results.json",
        "shapes": output / "shapes",
        "photographs": output / "photographs",
    }
    print(f"\nDone in {seconds / 60:.1f} minutes: " + ", ".join(_percent(trained)))
    for name, place in places.items():
        print(f"  {name:12} {place}")
    print(
        "The CLIP of this run has random weights, so words mean nothing to it: the shapes' names\n"
        "were learned in training, any other word (those for the photographs) is a guess."
    )


def _percent(values: dict[str, float]) -> list[str]:
    return [f"{name} {value:.1f} %" for name, value in values.items()]


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
