#!/usr/bin/env python3
"""Measures where the time and the memory of one image go, for any config and image size.

    python tools/benchmark.py --config-file configs/fcclip/r50.yaml --random-weights

Prints a table of stages (median of the runs after warm-up) with parameters and FLOPs, the cost of
the text embeddings with a cold and a warm cache, and the peak memory; `--json` keeps it all.
Compare figures of one run only: machines are noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

STAGES = ("backbone", "pixel decoder", "transformer decoder", "classification", "task heads")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="YAML")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 640), metavar=("H", "W"))
    parser.add_argument("--weights", default="", help="checkpoint; default: random decoder")
    parser.add_argument(
        "--random-weights",
        action="store_true",
        help="random CLIP weights instead of the config's (nothing is downloaded)",
    )
    parser.add_argument("--vocabulary", default="", help="table, file or words; default: config")
    parser.add_argument("--runs", type=int, default=5, help="timed runs (default 5)")
    parser.add_argument("--warmup", type=int, default=2, help="runs before timing (default 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    parser.add_argument("--skip-text", action="store_true", help="random text embeddings instead")
    parser.add_argument(
        "--text-sample",
        type=int,
        default=128,
        help="prompts timed at the full context length, to compare with (0: none; default 128)",
    )
    parser.add_argument("--json", default="", metavar="FILE", help="write the figures there")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    return parser.parse_args()


class StageClock:
    """Seconds spent in named stages of one forward call."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.current: dict[str, float] = defaultdict(float)
        self.synchronise = synchronise

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self.synchronise()
        start = time.perf_counter()
        yield
        self.synchronise()
        self.current[name] += time.perf_counter() - start

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return timed

    def finish_run(self, keep: bool) -> None:
        if keep:
            for name, value in self.current.items():
                self.seconds[name].append(value)
        self.current.clear()

    def medians(self) -> dict[str, float]:
        return {name: statistics.median(values) for name, values in self.seconds.items()}


def build(args: argparse.Namespace) -> Any:
    """The model of the config, in eval mode on the device, with the wanted words."""
    import torch

    from frozenseg.config import load_config
    from frozenseg.data.register import register_benchmarks
    from frozenseg.encoders.clip import CONFIG_SECTIONS
    from frozenseg.engine.build import build_model
    from frozenseg.engine.checkpoint import load_weights
    from frozenseg.engine.predictor import read_vocabulary

    register_benchmarks()
    cfg = load_config(args.config_file, args.opts)
    cfg.defrost()
    cfg.MODEL.DEVICE = args.device
    cfg.MODEL.TEXT_CACHE_DIR = args.cache
    if args.random_weights:
        section = CONFIG_SECTIONS[cfg.MODEL.META_ARCHITECTURE]
        cfg.MODEL[section].CLIP_PRETRAINED_WEIGHTS = ""
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    if args.weights:
        load_weights(model, args.weights)
    if args.vocabulary:
        model.set_vocabulary(read_vocabulary(args.vocabulary))
    return model


def measure_text(model: Any, sample: int) -> dict[str, Any]:
    """Seconds for the text embeddings: cold, warm (same cache, new builder) and at full length."""
    import copy

    import torch

    builder = model._text_classifier
    synonyms = model.vocabulary.all_synonyms
    prompts = [template.format(word) for word in synonyms for template in builder.templates]
    result: dict[str, Any] = {"synonyms": len(synonyms), "prompts": len(prompts)}
    for state in ("cold", "warm"):
        fresh = copy.copy(builder)
        fresh.forget()
        start = time.perf_counter()
        fresh(model.vocabulary)
        result[f"{state} seconds"] = time.perf_counter() - start
    if sample:
        chosen = prompts[:: max(1, len(prompts) // sample)][:sample]
        tokens = model.backbone.text.tokenize(chosen)
        full = torch.zeros(len(tokens), model.backbone.text.context_length, dtype=tokens.dtype)
        full[:, : tokens.shape[1]] = tokens
        with torch.no_grad():
            start = time.perf_counter()
            model.backbone.clip_model.encode_text(full.to(model.device))
        per_prompt = (time.perf_counter() - start) / len(full)
        result["full-length seconds (from a sample)"] = per_prompt * len(prompts)
        result["cold / full-length"] = result["cold seconds"] / (per_prompt * len(prompts))
    return result


def measure_image(model: Any, args: argparse.Namespace) -> dict[str, float]:
    """Median seconds of every stage and of the whole call."""
    import torch

    from frozenseg.mask_classification import model as model_module

    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, *args.size), generator=generator, dtype=torch.uint8)
    clock = StageClock(torch.cuda.synchronize if args.device != "cpu" else lambda: None)
    head = model.sem_seg_head
    parts = (
        (model.backbone, STAGES[0]),
        (head.pixel_decoder, STAGES[1]),
        (head.predictor, STAGES[2]),
    )
    with ExitStack() as stack:
        for module, name in parts:
            stack.enter_context(
                mock.patch.object(module, "forward", clock.wrap(name, module.forward))
            )
        stack.enter_context(
            mock.patch.object(model, "classify", clock.wrap(STAGES[3], model.classify))
        )
        heads = clock.wrap(STAGES[4], model_module.run_task_heads)
        stack.enter_context(mock.patch.object(model_module, "run_task_heads", heads))
        for run in range(args.warmup + args.runs):
            with clock.stage("total"), torch.no_grad():
                model([{"image": image}])
            clock.finish_run(keep=run >= args.warmup)
            print(f"\rrun {run + 1}/{args.warmup + args.runs}", end="", file=sys.stderr)
    print(file=sys.stderr)
    medians = clock.medians()
    medians["other"] = medians["total"] - sum(medians[name] for name in STAGES)
    return medians


def measure_flops(model: Any, size: tuple[int, int]) -> dict[str, float]:
    """GFLOP (multiply-adds counted once, as fvcore does) of the three networks."""
    import torch
    from fvcore.nn import FlopCountAnalysis

    class Call(torch.nn.Module):
        """A module with one tensor input, which is what tracing needs."""

        def __init__(self, module: Any, function: Callable[[Any], Any]) -> None:
            super().__init__()
            self.module, self.function = module, function

        def forward(self, x: Any) -> Any:
            return self.function(x)

    head = model.sem_seg_head
    classifier, void = model.classifier(model.vocabulary), model.void_embedding.weight.detach()
    with torch.no_grad():
        image = torch.zeros(1, 3, *(-(-s // 32) * 32 for s in size), device=model.device)
        features = model.backbone(image)
        pixels = head.pixel_decoder(features)

        def decode(_: Any) -> Any:
            return head.predictor(pixels, classifier, void).final.mask_logits_BQHW

        def pixel(_: Any) -> Any:
            return head.pixel_decoder(features).mask_features_BDHW

        calls = (
            (model.backbone, lambda x: model.backbone(x)["clip_vis_dense"]),
            (head.pixel_decoder, pixel),
            (head.predictor, decode),
        )
        result = {}
        for name, (module, function) in zip(STAGES, calls, strict=False):
            analysis = FlopCountAnalysis(Call(module, function), image)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            analysis.tracer_warnings("none")
            result[name] = analysis.total() / 1e9
    return result


def parameters(model: Any) -> dict[str, float]:
    """Millions of parameters of each network."""
    head = model.sem_seg_head
    modules = (model.backbone, head.pixel_decoder, head.predictor)
    return {
        name: sum(p.numel() for p in module.parameters()) / 1e6
        for name, module in zip(STAGES, modules, strict=False)
    }


def report(args: argparse.Namespace, model: Any, figures: dict[str, Any]) -> None:
    """The tables on standard output."""
    from tabulate import tabulate

    seconds, gflop, million = figures["seconds"], figures["gflop"], figures["parameters (M)"]
    rows = [
        [
            name,
            seconds[name],
            seconds[name] / seconds["backbone"],
            gflop.get(name),
            million.get(name),
        ]
        for name in (*STAGES, "other", "total")
    ]
    height, width = args.size
    print(
        f"\n{args.config_file}: {height}x{width}, {len(model.vocabulary)} classes, "
        f"{model.sem_seg_head.predictor.query_feat.num_embeddings} queries, {args.device}, "
        f"{args.threads} threads, median of {args.runs} runs after {args.warmup}"
    )
    headers = ["stage", "seconds", "/ backbone", "GFLOP", "parameters (M)"]
    print(tabulate(rows, headers=headers, floatfmt=".3f"))
    ratio = (seconds["total"] - seconds["backbone"]) / seconds["backbone"]
    print(f"(total - backbone) / backbone: {ratio:.2f}")
    print(f"peak memory: {figures['peak memory (GB)']:.2f} GB")
    for name, value in figures.get("text", {}).items():
        print(f"text {name}: {value:.3f}" if isinstance(value, float) else f"text {name}: {value}")


def main(args: argparse.Namespace) -> int:
    import torch

    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as cache:
        args.cache = cache
        model = build(args)
        figures: dict[str, Any] = {"config": args.config_file, "size": list(args.size)}
        if args.skip_text:
            _random_text(model)
        else:
            figures["text"] = measure_text(model, args.text_sample)
        figures["seconds"] = measure_image(model, args)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
        figures["peak memory (GB)"] = peak
        figures["gflop"] = measure_flops(model, tuple(args.size))
        figures["parameters (M)"] = parameters(model)
    figures["threads"], figures["torch"] = args.threads, torch.__version__
    report(args, model, figures)
    if args.json:
        path = Path(args.json)
        temporary = path.with_name(path.name + ".part")
        temporary.write_text(json.dumps(figures, indent=1))
        os.replace(temporary, path)
    return 0


def _random_text(model: Any) -> None:
    """Unit vectors instead of text embeddings, for timing the image alone."""
    import torch

    from frozenseg.structures import TextClassifier

    counts = torch.tensor([len(words) for words in model.vocabulary.synonyms])
    rows = torch.nn.functional.normalize(
        torch.randn(int(counts.sum()), model.backbone.embed_dim), dim=-1
    )
    index = torch.repeat_interleave(torch.arange(len(counts)), counts)
    classifier = TextClassifier(rows, index, len(counts)).to(model.device)
    model._classifiers[model.vocabulary] = classifier


if __name__ == "__main__":
    from pathlib import Path as _Path

    sys.path.insert(0, str(_Path(__file__).resolve().parent.parent))
    from frozenseg.cli import run

    run(main, parse_args())
