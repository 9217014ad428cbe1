#!/usr/bin/env python
"""The whole way in a few minutes: data, training, evaluation, pictures (`make quickstart`).

It trains FrozenSeg's decoder (or FC-CLIP's) from scratch on the seen classes of the miniature
world, over the miniature CLIP and SAM that this repository ships, and scores it zero-shot on all
classes. Every step is a command that a real experiment uses too, and is printed before it runs;
only the sizes are small. Results go to output/quickstart/. If a step fails, this stops with its
exit code.
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

from frozenseg.cli import program as cli
from frozenseg.cli.options import add_shared

CONFIGS = ROOT / "configs" / "miniature"
# Model -> the config section of its frozen CLIP.
MODELS = {"frozenseg": "MODEL.FROZEN_SEG", "fcclip": "MODEL.FC_CLIP"}
PHOTOS = ("china.jpg", "flower.jpg")
PHOTO_WORDS = "temple, pagoda; tree, bush; sky:stuff; lake, water:stuff; flower; leaf:stuff"
FAST = ("SOLVER.MAX_ITER", "4", "SOLVER.STEPS", "(3,)")
WITHOUT, AGAIN = "without_ensemble", "verification"  # folders of further evaluations
SHOWN = ("PQ", "SQ", "RQ", "AP", "mIoU")
# What the class ensemble is for: title, score and group of classes.
ROWS = (
    ("class accuracy on regions found (IoU > 0.5)", "accuracy", "unseen"),
    ("PQ", "PQ", "unseen"),
    ("PQ of things", "PQ", "unseen_things"),
    ("recall of regions at IoU 0.5", "recall50", "unseen"),
)
PLACES = {
    "scores": "results.json",
    "report": "report.html",
    "curves": "curves.png",
    "pictures": "pictures",
    "photographs": "photographs",
    "checkpoint": "model_final.pth",
    "losses": "metrics.json",
}


class Step(NamedTuple):
    """A command of the way: its name, what it does, script and arguments."""

    name: str
    meaning: str
    words: tuple[str, ...]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="default: output/quickstart of this repository; another for --novel and --fast",
    )
    add("--model", choices=MODELS, default="frozenseg", help="what to train (default %(default)s)")
    add("--novel", action="store_true", help="leave out whole shapes instead of colours of each")
    add("--photos", nargs="+", metavar="FILE", help="default: the two that scikit-learn carries")
    add("--words", default=PHOTO_WORDS, help="for the photographs: %(default)r")
    add("--resume", action="store_true", help="continue an interrupted training")
    add("--fast", action="store_true", help="4 iterations: shows that all runs, learns nothing")
    add(
        "--verify", action="store_true", help="also check that the checkpoint scores the same again"
    )
    add_shared(parser, "--opts")
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Runs the steps; returns the exit code of the first that fails, or 0."""
    start = time.perf_counter()
    name = "quickstart" + "-novel" * args.novel + "-fast" * args.fast
    output = (args.output or ROOT / "output" / name).expanduser().absolute()
    photos = args.photos or sample_photos()
    output.mkdir(parents=True, exist_ok=True)
    steps = plan(args, output, photos)
    for number, step in enumerate(steps, start=1):
        code = run_step(step, f"[{number}/{len(steps)}]", environment(output))
        if code:
            return code
    report(output, time.perf_counter() - start, verified=args.verify)
    return 0


def plan(args: argparse.Namespace, output: Path, photos: list[str]) -> list[Step]:
    """The commands, in order."""
    name, kind = (f"novel_{args.model}", ("--novel",)) if args.novel else (args.model, ())
    config, weights = str(CONFIGS / f"{name}.yaml"), str(output / "model_final.pth")
    train, val = ("8", "4") if args.fast else ("2000", "200")  # images
    opts = (*(FAST if args.fast else ()), *args.opts)
    run = ("train_net.py", "--config-file", config)
    kept = ("TEST.SAVE_PER_IMAGE", "True", "TEST.SAVE_PREDICTIONS", "True")  # the report's
    scored = ("MODEL.MASK_FORMER.TEST.RECALL_ON", "True", *kept, *opts, "OUTPUT_DIR")
    score = (*run, "--eval-only", "MODEL.WEIGHTS", weights, *scored)
    model = ("--config-file", config, "--weights", weights)
    data = ("--root", str(output / "datasets"), "--train", train, "--dev", "0", "--val", val, *kind)
    demo = ("--input", *photos, "--vocabulary", args.words)
    steps = (
        Step(
            "data",
            "write the miniature world, in COCO's panoptic format",
            ("datasets/prepare.py", "miniature", *data),
        ),
        Step(
            "training",
            "train the mask decoder on seen classes over frozen encoders, then score all classes",
            (*run, *(["--resume"] if args.resume else []), *scored, str(output)),
        ),
        Step(
            "without ensemble",
            "score the same weights without the frozen CLIP's own judgement of each mask",
            (*score, str(output / WITHOUT), f"{MODELS[args.model]}.CLASS_ENSEMBLE", "False"),
        ),
        Step("again", "score the checkpoint again", (*score, str(output / AGAIN))),
        Step(
            "report",
            "write both scores as a page: whether they differ, and on which images",
            (
                "tools/report_results.py",
                *(str(output / WITHOUT), str(output)),
                *("--output", str(output / PLACES["report"])),
            ),
        ),
        Step(
            "pictures",
            "draw image, ground truth and prediction side by side",
            ("tools/draw_results.py", *model, "--output", str(output / "pictures"), *opts),
        ),
        Step(
            "photographs",
            "segment photographs with your own words",
            (
                "demo/demo.py",
                *model,
                *demo,
                "--output",
                str(output / "photographs"),
                "--opts",
                *opts,
            ),
        ),
    )
    return [step for step in steps if step.name != "again" or args.verify]


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


def report(output: Path, seconds: float, *, verified: bool = False) -> None:
    """Draws the curves, prints the scores and where everything is.

    Raises: ValueError if `verified` and the checkpoint did not score the same again.
    """
    from frozenseg.evaluation import summary
    from frozenseg.visualization.plots import plot_training

    scores = summary.read_scores(output / "results.json")
    without = summary.read_scores(output / WITHOUT / "results.json")
    if verified:
        summary.require_same_scores(scores, summary.read_scores(output / AGAIN / "results.json"))
        print("\nThe checkpoint scored the same again.")
    shown = {name: scores[name] for name in SHOWN}
    plot_training(output / "metrics.json", output / "curves.png", shown)
    print(f"\nDone in {seconds / 60:.1f} minutes. Zero-shot scores in percent:\n")
    print(summary.score_table(shown))
    print("\nUnseen classes with and without the class ensemble:\n")
    print(summary.comparison_table(without, scores, ROWS, ("off", "on")))
    print()
    for name, place in PLACES.items():
        print(f"  {name:12} {output / place}")
    print(
        "The miniature CLIP knows the words of its world only: what it makes of other words, such "
        "as\nthose for the photographs, is a guess."
    )


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
