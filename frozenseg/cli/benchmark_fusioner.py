"""Where the time of a Fusioner goes, for any pairing and number of words.

    frozenseg benchmark fusioner --config-file configs/fusioner/clip_b_clip_b.yaml

Encoders and decoder have random weights, words random vectors; nothing is downloaded. Stages of one
test window, a training step without its frozen part, and the head beside its definition (which
enlarges the features of all channels first). Processor time, so that other programs matter less.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from frozenseg.cli.options import add_shared, whole
from frozenseg.files import write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--config-file", default="configs/fusioner/clip_b_clip_b.yaml", metavar="YAML")
    add(
        "--words",
        type=whole(1),
        nargs="+",
        default=(1, 4, 20, 150),
        metavar="T",
        help="asked at once",
    )
    add("--batch", type=whole(1), default=1, help="windows, or training images (default 1)")
    add_shared(parser, "--runs", "--threads", "--json")


def main(args: argparse.Namespace) -> None:
    """Measures and prints the table."""
    import torch
    from tabulate import tabulate

    from frozenseg.benchmarking.clock import MachineWatch
    from frozenseg.benchmarking.measures import benchmark_config, benchmark_model

    torch.set_num_threads(args.threads)
    cfg = benchmark_config(args.config_file)
    is_fusioner = cfg.MODEL.META_ARCHITECTURE == "Fusioner"
    if not is_fusioner or cfg.MODEL.FUSIONER.METHOD not in ("early", "late"):
        raise ValueError(f"{args.config_file} is not an early or late Fusioner: nothing to measure")
    model = benchmark_model(cfg)
    watch = MachineWatch()
    rows = [measure(model, words, args) for words in args.words]
    print(f"{args.config_file}: {model.crop} pixels, batch {args.batch}, processor seconds")
    print(tabulate(rows, headers="keys", floatfmt=".3f"))
    print(watch.load())
    if args.json:
        write_json(args.json, rows)


def measure(model: Any, words: int, args: argparse.Namespace) -> dict[str, float]:
    """One row: seconds of every stage with so many words."""
    import torch
    import torch.nn.functional as F

    from frozenseg.fusioner.cosine_logits import cosine_logits

    size, method = (model.crop, model.crop), model.method
    images = torch.randn(args.batch, 3, *size)
    words_TK = F.normalize(torch.randn(words, model.language.embed_dim), dim=-1)
    words_BTK = words_TK.expand(args.batch, -1, -1)
    with torch.no_grad():
        patches = model.patches(images)
        fused, words_BTD = method.fusion(patches.flatten(2).transpose(1, 2), words_BTK)
        grid = fused.transpose(1, 2).unflatten(2, patches.shape[-2:])
        features = method.decoder(grid)
        stages: dict[str, Callable[[], Any]] = {
            "visual encoder": lambda: model.patches(images),
            "fusion": lambda: method.fusion(patches.flatten(2).transpose(1, 2), words_BTK),
            "decoder": lambda: method.decoder(grid),
            "head": lambda: cosine_logits(features, words_BTD, size),
            "(head by its definition)": lambda: by_definition(features, words_BTD, size),
        }
        row = {name: seconds(stage, args.runs) for name, stage in stages.items()}
    labels = torch.zeros(args.batch, *size, dtype=torch.int32)
    asked = torch.zeros(args.batch, dtype=torch.long)

    def step() -> None:
        method.losses(patches, words_TK, labels, asked)["loss_bce"].backward()

    row["training step"] = seconds(step, args.runs)
    return {"words": words, **row}


def by_definition(features: Any, words: Any, size: Sequence[int]) -> Any:
    """The logits as the paper says them: enlarged features, then cosines."""
    import torch.nn.functional as F

    large = F.interpolate(features, size=list(size), mode="bilinear", align_corners=False)
    return F.normalize(words, dim=-1) @ F.normalize(large, dim=1).flatten(2) / 0.07


def seconds(stage: Callable[[], Any], runs: int) -> float:
    """Median processor seconds, after one run that does not count."""
    taken = []
    for _ in range(runs + 1):
        start = time.process_time()
        stage()
        taken.append(time.process_time() - start)
    return statistics.median(taken[1:])
