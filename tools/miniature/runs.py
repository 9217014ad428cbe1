"""What tools/pretrain_miniature.py does: a training with its files, or an evaluation."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from typing import Any

import torch

from frozenseg.data.atomic import write_atomically
from tools.miniature.curves import plot_log
from tools.miniature.pool import open_crops, open_scenes
from tools.miniature.training import Schedule, train

CLIP_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "miniature" / "miniature_clip.json"
_POOL_SEED = 1000  # worlds of training pictures; evaluations use other seeds


def pretrain(args: argparse.Namespace) -> None:
    """Trains one model, and writes its weights, log, curves and facts."""
    if args.steps == 0 and args.minutes <= 0:
        raise ValueError(f"--minutes is {args.minutes}; give a positive time, or --steps")
    torch.manual_seed(args.seed)
    folder = args.output / args.command
    pool_seed = _POOL_SEED + args.seed
    scenes = open_scenes(args.pool, seed=pool_seed, count=args.scenes)
    model: Any
    task: Any
    if args.command == "clip":
        from tools.miniature.clip_training import ClipTask, MiniatureClip

        crops = open_crops(args.pool, seed=pool_seed, count=args.crops)
        model = MiniatureClip(str(CLIP_CONFIG))
        task = ClipTask(model, scenes, crops, args.seed)
        peak_rate = 2e-3
    else:
        from tools.miniature.sam_training import MiniatureSam, SamTask

        model = MiniatureSam()
        task = SamTask(model, scenes, args.seed)
        peak_rate = 1e-3
    schedule = Schedule(minutes=args.minutes, steps=args.steps, peak_rate=peak_rate)
    figures = train(model, task.loss, schedule, folder, resume=args.resume)
    name = f"miniature_{args.command}"
    model.export(args.output / f"{name}.safetensors")
    plot_log(folder / "log.jsonl", folder / "curves.png", title=f"miniature {args.command}")
    facts = {
        "model": name,
        "seed": args.seed,
        **figures,
        "scenes": args.scenes,
        "threads": args.threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "command": _command(args),
    }
    write_json(args.output / f"{name}.json", facts)
    print(f"{args.output / name}.safetensors: {figures['steps']} steps, {figures['seconds']:.0f} s")


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the models in `args.weights` on held-out pictures and prints the figures."""
    figures: dict[str, Any] = {}
    if "clip" in args.models:
        from tools.miniature.clip_evaluation import evaluate_clip

        figures["clip"] = evaluate_clip(
            str(CLIP_CONFIG),
            str(args.weights / "miniature_clip.safetensors"),
            seed=args.seed,
            scenes=args.scenes,
            crops=args.crops,
            sizes=args.sizes,
        )
    if "sam" in args.models:
        from tools.miniature.sam_evaluation import evaluate_sam

        figures["sam"] = evaluate_sam(
            args.weights / "miniature_sam.safetensors", seed=args.seed, scenes=args.scenes
        )
    print(json.dumps(figures, indent=1))
    if args.record:
        for model, measured in figures.items():
            facts_file = args.weights / f"miniature_{model}.json"
            facts = json.loads(facts_file.read_text(encoding="utf-8"))
            world = {"seed": args.seed, "scenes": args.scenes, "crops": args.crops}
            write_json(facts_file, facts | {"held_out": world, "measured": measured})
    return figures


def _command(args: argparse.Namespace) -> str:
    """What repeats the training; folders are left to their defaults."""
    length = f"--steps {args.steps}" if args.steps else f"--minutes {args.minutes:g}"
    sizes = f"--scenes {args.scenes}"
    crops = f"--crops {args.crops}" if args.command == "clip" else ""
    parts = [args.command, length, f"--seed {args.seed} --threads {args.threads}", sizes, crops]
    return " ".join(["python tools/pretrain_miniature.py", *filter(None, parts)])


def write_json(path: Path, content: dict[str, Any]) -> None:
    """The content as indented JSON."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
