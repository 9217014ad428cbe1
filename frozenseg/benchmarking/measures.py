"""What `frozenseg benchmark` measures: stages of one image, text embeddings, FLOPs, parameters."""

from __future__ import annotations

import copy
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from fvcore.nn import FlopCountAnalysis
from torch import nn

from frozenseg.benchmarking.clock import StageClock, medians
from frozenseg.build import load_model
from frozenseg.checkpoints.lookup import ENCODER_KEYS, resolve_names
from frozenseg.config import load_config
from frozenseg.inference.instance import InstanceAccumulator
from frozenseg.inference.panoptic import PanopticAccumulator
from frozenseg.inference.semantic import SemanticAccumulator
from frozenseg.mask_classification import model as model_module
from frozenseg.structures import TextClassifier

# Config pairs after which no weights of encoders are read or downloaded: speed needs none.
RANDOM_ENCODERS = [word for key in ENCODER_KEYS for word in (key, "")]
STAGES = (
    "backbone",
    "SAM encoder",
    "pixel decoder",
    "transformer decoder",
    "classification",
    "task heads",
)
HEADS = {
    "semantic": SemanticAccumulator,
    "panoptic": PanopticAccumulator,
    "instance": InstanceAccumulator,
}


def benchmark_config(
    config_file: str, opts: Sequence[str] = (), *, random_encoders: bool = True
) -> CfgNode:
    """A config with random weights, on the CPU, unless `opts` (KEY VALUE) name others."""
    encoders = RANDOM_ENCODERS if random_encoders else []
    cfg = load_config(config_file, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *opts, *encoders])
    resolve_names(cfg, cfg.MODEL.WEIGHTS)
    return cfg


def benchmark_model(cfg: CfgNode) -> Any:
    """The model of a config in test mode; what is random comes from a fixed seed."""
    torch.manual_seed(0)
    return load_model(cfg)[0].eval()


def networks(model: Any) -> dict[str, nn.Module]:
    """The networks that every image passes, by the name of their stage."""
    head = model.sem_seg_head
    sam = {"SAM encoder": model.sam.image_encoder} if model.injects_sam else {}
    parts = {"pixel decoder": head.pixel_decoder, "transformer decoder": head.predictor}
    return {"backbone": model.backbone, **sam, **parts}


def measure_text(model: Any, sample: int) -> dict[str, Any]:
    """Seconds for the text embeddings: cold, warm (same cache, new builder) and at full length."""
    builder, clock = model.classifier, StageClock()
    synonyms = model.vocabulary.all_synonyms
    prompts = [template.format(word) for word in synonyms for template in builder.templates]
    result: dict[str, Any] = {"synonyms": len(synonyms), "prompts": len(prompts)}
    for state in ("cold", "warm"):
        fresh = copy.copy(builder)
        fresh.forget()
        with clock.stage(state):
            fresh(model.vocabulary)
        result |= {f"{state} {unit}": each for unit, each in clock.own[state].seconds.items()}
    if sample:
        chosen = prompts[:: max(1, len(prompts) // sample)][:sample]
        tokens, _ = model.backbone.text.tokenize(chosen)
        full = torch.zeros(len(tokens), model.backbone.text.context_length, dtype=tokens.dtype)
        full[:, : tokens.shape[1]] = tokens
        with torch.no_grad(), clock.stage("sample"):
            model.backbone.clip_model.encode_text(full.to(model.device))
        per_prompt = clock.own["sample"].seconds["seconds"] / len(full)
        result["full-length seconds (from a sample)"] = per_prompt * len(prompts)
        result["cold / full-length"] = result["cold seconds"] / (per_prompt * len(prompts))
    return result


def measure_image(
    model: Any, size: Sequence[int], *, runs: int, warmup: int, device: str
) -> dict[str, dict[str, float]]:
    """Median wall and processor seconds of every stage, each task head, and the whole call.

    Returns: {"seconds": {stage: wall}, "processor seconds": {stage: processor}}. "other" is what
        the call does outside of every stage, "mask resize, sigmoid" what the task heads share.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    kept = []
    for run in range(warmup + runs):
        clock = StageClock(waiting(device))
        with ExitStack() as stack:
            for owner, name, stage in _timed(model):
                timed = clock.wrap(stage, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, timed))
            with clock.stage("total"), torch.no_grad():
                model([{"image": image}])
        own = {"other": clock.own["total"], "mask resize, sigmoid": clock.own["task heads"]}
        kept.append({**clock.whole, **own})
        print(f"\rrun {run + 1}/{warmup + runs}", end="", file=sys.stderr)
    print(file=sys.stderr)
    seconds = {name: time.seconds for name, time in medians(kept[warmup:]).items()}
    return {
        unit: {name: each[unit] for name, each in seconds.items()}
        for unit in ("seconds", "processor seconds")
    }


def waiting(device: str) -> Callable[[], None]:
    """A function that returns when the device has done its work."""
    return (lambda: None) if device == "cpu" else torch.cuda.synchronize


def _timed(model: Any) -> list[tuple[Any, str, str]]:
    """(owner, attribute, stage) of every function whose time counts."""
    timed = [
        *((module, "forward", name) for name, module in networks(model).items()),
        (model, "classify", "classification"),
        (model_module, "solve_tasks", "task heads"),
    ]
    return timed + [(cls, name, task) for task, cls in HEADS.items() for name in ("add", "finish")]


def peak_memory(device: str) -> float:
    """Gigabytes: of the whole process on the CPU, of tensors on a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 1024**3
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, where `ru_maxrss` begins with that of the process before it
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 1024**2
    unit = 1024**3 if sys.platform == "darwin" else 1024**2
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure_flops(model: Any, size: Sequence[int]) -> dict[str, float]:
    """GFLOP (multiply-adds counted once, as fvcore does) of the networks."""

    class Call(nn.Module):
        """A module with one tensor input, which is what tracing needs."""

        def __init__(self, module: Any, function: Callable[[Any], Any]) -> None:
            super().__init__()
            self.module, self.function = module, function

        def forward(self, x: Any) -> Any:
            return self.function(x)

    head = model.sem_seg_head
    classifier, void = model.classifier(model.vocabulary), model.void_embedding.weight.detach()
    with torch.no_grad():
        sample = {"image": torch.zeros(3, *size, dtype=torch.uint8)}
        images, features = model.encode([sample])
        pixels = head.pixel_decoder(features)

        def decode(_: Any) -> Any:
            return head.predictor(pixels, classifier, void).final.mask_logits_BQHW

        def pixel(_: Any) -> Any:
            return head.pixel_decoder(features).mask_features_BDHW

        calls: dict[str, Callable[[Any], Any]] = {
            "backbone": lambda x: model.backbone(x)["clip_vis_dense"],
            "SAM encoder": lambda x: model.sam(model._sam_input(model.sam, [sample])),
            "pixel decoder": pixel,
            "transformer decoder": decode,
        }
        result = {}
        for name, module in networks(model).items():
            analysis = FlopCountAnalysis(Call(module, calls[name]), images.tensor)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            analysis.tracer_warnings("none")
            result[name] = analysis.total() / 1e9
    return result


def parameters(model: Any) -> dict[str, float]:
    """Millions of parameters of each network."""
    return {
        name: sum(p.numel() for p in module.parameters()) / 1e6
        for name, module in networks(model).items()
    }


def count_queries(model: Any) -> int:
    """How many masks the decoder gives for an image, whatever decoder it is."""
    side = model.size_divisibility
    with torch.no_grad():
        _, features = model.encode([{"image": torch.zeros(3, side, side, dtype=torch.uint8)}])
        classifier, void = model.classifier(model.vocabulary), model.void_embedding.weight
        return int(model.sem_seg_head(features, classifier, void).final.mask_logits_BQHW.shape[1])


def random_text(model: Any) -> None:
    """Unit vectors instead of text embeddings, for timing the image alone."""
    counts = torch.tensor([len(words) for words in model.vocabulary.synonyms])
    rows = F.normalize(torch.randn(int(counts.sum()), model.backbone.embed_dim), dim=-1)
    index = torch.repeat_interleave(torch.arange(len(counts)), counts)
    classifier = TextClassifier(rows, index, len(counts)).to(model.device)
    model.classifier = lambda _: classifier
