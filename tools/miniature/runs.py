"""What tools/pretrain_miniature.py does: a training with its files, or an evaluation."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from frozenseg.files import read_json, write_json
from tools.miniature.clip_training import PIXEL_MEAN, PIXEL_STD
from tools.miniature.pool import open_crops, open_scenes
from tools.miniature.training import Schedule, plot_log, train

_REPOSITORY = Path(__file__).resolve().parents[2]
_CONFIGS = _REPOSITORY / "configs" / "miniature"
_SHIPPED = _REPOSITORY / "frozenseg" / "weights"
CLIP_CONFIG = _CONFIGS / "miniature_clip.json"
VIT_CONFIG, BERT_FOLDER = _CONFIGS / "miniature_vit.json", _CONFIGS / "miniature_bert"
# Per command the name of what it makes.
FILES = {
    "clip": "miniature_clip",
    "sam": "miniature_sam",
    "vision": "miniature_vit",
    "language": "miniature_bert",
}
_NEEDS_SCENES, _NEEDS_CROPS = ("clip", "sam", "vision"), ("clip", "vision")
_POOL_SEED = 1000  # worlds of training pictures; evaluations use other seeds


def pretrain(args: argparse.Namespace) -> None:
    """Trains one model, and writes its weights, log, curves and facts."""
    if args.steps == 0 and args.minutes <= 0:
        raise ValueError(f"--minutes is {args.minutes}; give a positive time, or --steps")
    torch.manual_seed(args.seed)
    folder = args.output / args.command
    model, task, peak_rate = _prepare(args)
    schedule = Schedule(minutes=args.minutes, steps=args.steps, peak_rate=peak_rate)
    figures = train(model, task.loss, schedule, folder, resume=args.resume)
    name = FILES[args.command]
    model.export(args.output / f"{name}.safetensors")
    plot_log(folder / "log.jsonl", folder / "curves.png", title=name.replace("_", " "))
    facts = {
        "model": name,
        "seed": args.seed,
        **figures,
        **({"scenes": args.scenes} if args.command in _NEEDS_SCENES else {}),
        "threads": args.threads,
        "torch": torch.__version__,
        "machine": platform.machine(),
        "command": _command(args),
        **({"pixel_mean": PIXEL_MEAN, "pixel_std": PIXEL_STD} if args.command == "vision" else {}),
    }
    write_json(args.output / f"{name}.json", facts)
    print(f"{args.output / name}.safetensors: {figures['steps']} steps, {figures['seconds']:.0f} s")


def _prepare(args: argparse.Namespace) -> tuple[Any, Any, float]:
    """The model of the command, its task, and its learning rate."""
    if args.command == "language":
        from tools.miniature.language_training import LanguageTask, MiniatureBert

        bert = MiniatureBert(BERT_FOLDER)
        return bert, LanguageTask(bert, args.seed), 2e-3
    pool_seed = _POOL_SEED + args.seed
    scenes = open_scenes(args.pool, seed=pool_seed, count=args.scenes)
    if args.command == "sam":
        from tools.miniature.sam_training import MiniatureSam, SamTask

        sam = MiniatureSam()
        return sam, SamTask(sam, scenes, args.seed), 1e-3
    crops = open_crops(args.pool, seed=pool_seed, count=args.crops)
    if args.command == "clip":
        from tools.miniature.clip_training import ClipTask, MiniatureClip

        clip = MiniatureClip(str(CLIP_CONFIG))
        return clip, ClipTask(clip, scenes, crops, args.seed), 2e-3
    from tools.miniature.vision_training import MiniatureVision, VisionTask

    vision = MiniatureVision(read_json(VIT_CONFIG)["timm_vit"])
    return vision, VisionTask(vision, scenes, crops, args.seed), 1.5e-3


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Measures the models in `args.weights` on held-out pictures and prints the figures."""
    figures = {model: _measure(model, args) for model in FILES if model in args.models}
    print(json.dumps(figures, indent=1))
    if args.record:
        for model, measured in figures.items():
            facts_file = args.weights / f"{FILES[model]}.json"
            facts = read_json(facts_file)
            world = {"seed": args.seed, "scenes": args.scenes, "crops": args.crops}
            held_out = {} if model == "language" else {"held_out": world}
            write_json(facts_file, facts | held_out | {"measured": measured})
    return figures


def _measure(model: str, args: argparse.Namespace) -> dict[str, Any]:
    weights = args.weights / f"{FILES[model]}.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(
            f"{weights} does not exist; run tools/pretrain_miniature.py {model}"
        )
    if model == "clip":
        from tools.miniature.clip_evaluation import evaluate_clip

        return evaluate_clip(
            str(CLIP_CONFIG),
            str(weights),
            seed=args.seed,
            scenes=args.scenes,
            crops=args.crops,
            sizes=args.sizes,
        )
    if model == "sam":
        from tools.miniature.sam_evaluation import evaluate_sam

        return evaluate_sam(weights, seed=args.seed, scenes=args.scenes)
    if model == "vision":
        from frozenseg.encoders.visual.encoder import load_visual_encoder
        from tools.miniature.vision_evaluation import evaluate_vision

        return _compare(
            VIT_CONFIG,
            weights,
            load_visual_encoder,
            lambda encoder: evaluate_vision(encoder, seed=args.seed, scenes=args.scenes),
        )
    from frozenseg.encoders.text.language import load_language_encoder
    from tools.miniature.language_evaluation import evaluate_language

    return _compare(
        BERT_FOLDER,
        weights,
        load_language_encoder,
        lambda encoder: evaluate_language(lambda names: encoder.encode(*encoder.tokenize(names))),
    )


def _compare(
    config: Path, weights: Path, load: Callable[[str, str], Any], measure: Callable[[Any], Any]
) -> dict[str, Any]:
    """The figures of an encoder, of the same one untrained, and of the shipped CLIP."""
    clip = _SHIPPED / f"{FILES['clip']}.safetensors"
    encoders = {
        "trained": (config, weights),
        "random": (config, ""),
        "miniature_clip": (CLIP_CONFIG, clip),
    }
    figures = {}
    for label, (name, file) in encoders.items():
        torch.manual_seed(0)  # of random weights
        figures[label] = measure(load(str(name), str(file)))
    return figures


def _command(args: argparse.Namespace) -> str:
    """What repeats the training; folders are left to their defaults."""
    length = f"--steps {args.steps}" if args.steps else f"--minutes {args.minutes:g}"
    sizes = f"--scenes {args.scenes}" if args.command in _NEEDS_SCENES else ""
    crops = f"--crops {args.crops}" if args.command in _NEEDS_CROPS else ""
    parts = [args.command, length, f"--seed {args.seed} --threads {args.threads}", sizes, crops]
    return " ".join(["python tools/pretrain_miniature.py", *filter(None, parts)])
