"""What one GPU is measured on, part by part: generators of rows.

A part runs in a process that is forked from one that has never touched the GPU.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

# Or the parent's look for a GPU would spoil it for the processes that it forks.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

import torch
from detectron2.config import CfgNode

from frozenseg.benchmarking.clock import StageClock, medians
from frozenseg.benchmarking.measures import (
    benchmark_config,
    benchmark_model,
    networks,
    peak_memory,
    random_text,
    waiting,
)
from frozenseg.build import load_model
from frozenseg.config import load_config
from frozenseg.errors import describe

logger = logging.getLogger("gpu_check")

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT.parent / "shared" / "golden"
CONFIGS = ROOT / "configs"
MINIATURE = CONFIGS / "miniature"
PRECISIONS = ("float32", "bfloat16")
Row = dict[str, Any]
Part = Callable[["Setting"], Iterator[Row]]


class Setting(NamedTuple):
    """The device, and whether everything is in miniature; a folder for files."""

    device: str
    tiny: bool
    folder: Path

    @property
    def runs(self) -> int:
        """Calls that a median is taken of."""
        return 1 if self.tiny else 10

    @property
    def iterations(self) -> int:
        """Of a training."""
        return 16 if self.tiny else 50

    def autocast(self, precision: str) -> contextlib.AbstractContextManager[Any]:
        """What a model runs in for a precision."""
        dtype = torch.bfloat16 if "bfloat16" in precision else torch.float32
        enabled = dtype != torch.float32
        return torch.autocast(torch.device(self.device).type, dtype=dtype, enabled=enabled)

    def measured(self, function: Callable[[], Any]) -> Row:
        """Median milliseconds after one call that does not count, and the peak of memory."""
        if self.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        times = []
        for _ in range(self.runs + 1):
            clock = StageClock(waiting(self.device))
            with clock.stage("call"):
                function()
            times.append(clock.whole)
        median = medians(times[1:])["call"]
        ms, processor = median.wall / 1e6, median.processor / 1e6
        return {"ms": ms, "processor ms": processor, "peak GB": peak_memory(self.device)}


def machine(setting: Setting) -> Iterator[Row]:
    """What this ran on."""
    row: Row = {"device": setting.device, "torch": torch.__version__, "cores": os.cpu_count()}
    if setting.device != "cpu":
        about = torch.cuda.get_device_properties(setting.device)
        row |= {
            "name": about.name,
            "GB": about.total_memory / 2**30,
            "capability": f"{about.major}.{about.minor}",
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
        }
    yield row


def golden(setting: Setting) -> Iterator[Row]:
    """Largest deviations from the recorded values, and equal pixels of the label maps."""
    if not GOLDEN.is_dir():
        yield {"skipped": f"{GOLDEN} is not there"}
        return
    models: Any = importlib.import_module("tests.mask_classification.conftest")
    torch.backends.cudnn.allow_tf32 = False
    for name in models.GOLDEN:
        folder = GOLDEN / name
        samples = torch.load(folder / "inputs.pt", weights_only=True)
        recorded = torch.load(folder / "eval.pt", weights_only=True)
        temporary = setting.folder / name
        temporary.mkdir()
        model = models.build_golden_model(folder, temporary, "MODEL.DEVICE", setting.device)
        for precision in PRECISIONS:
            row: Row = {"model": name, "precision": precision}
            with torch.no_grad(), setting.autocast(precision):
                _, features = model.encode(samples[:1])
                masks = model._decode(features, model.vocabulary, False).final
                classes = model.classify(masks, features).shared
                labels = model(samples[:1])[0]["panoptic_seg"][0]
            wanted = recorded["img0"]
            for key, value in (
                ("pred_masks", masks.mask_logits_BQHW),
                ("pred_logits", masks.class_logits_BQC1),
                ("mask_cls_after_ensemble", classes),
            ):
                row[key] = (value.float().cpu() - wanted[key]).abs().max().item()
            same = labels.cpu() == wanted["per_image"][0]["panoptic_seg"]
            yield row | {"equal labels %": 100 * same.float().mean().item()}


def samplers(setting: Setting) -> Iterator[Row]:
    """The deformable sampling of a 1024x1024 image, one layer: forward, and with gradients."""
    from frozenseg.layers.deform_sampling import BACKENDS, ms_deform_sample

    shapes = [(side, side) for side in ((4, 8) if setting.tiny else (32, 64, 128))]
    tokens, heads, points = sum(h * w for h, w in shapes), 8, 4
    for backend in BACKENDS:
        for precision in PRECISIONS:
            dtype = getattr(torch, precision)
            value = torch.randn(1, tokens, heads, 32)
            places = torch.rand(1, tokens, heads, len(shapes), points, 2)
            weights = torch.rand(1, tokens, heads, len(shapes), points)
            inputs = [each.to(setting.device, dtype) for each in (value, places, weights)]

            def forward(inputs: Any = inputs, backend: str = backend) -> torch.Tensor:
                value, places, weights = inputs
                return ms_deform_sample(value, shapes, places, weights, backend=backend)

            def backward(inputs: Any = inputs, forward: Any = forward) -> None:
                forward([each.detach().requires_grad_() for each in inputs]).sum().backward()

            for name, function in (("forward", forward), ("with gradients", backward)):
                row: Row = {"sampler": backend, "precision": precision, "pass": name}
                yield from _row_or_error(row, partial(setting.measured, function))


def inference(config: str, tiny: str = "") -> Callable[[Setting], Iterator[Row]]:
    """A part: one image through a whole model, eager in both precisions, then compiled."""

    def part(setting: Setting) -> Iterator[Row]:
        if setting.tiny and not tiny:
            yield {"skipped": "in miniature FrozenSeg-B stands for all"}
            return
        device = ["MODEL.DEVICE", setting.device]
        file, side = (MINIATURE / tiny, 128) if setting.tiny else (CONFIGS / config, 1024)
        model = benchmark_model(benchmark_config(str(file), device))
        random_text(model)
        image = torch.randint(0, 256, (3, side, side), dtype=torch.uint8)
        for mode in (*PRECISIONS, "bfloat16, compiled"):
            if "compiled" in mode:
                parts = list(networks(model).values())
                for module in parts[:1] if setting.tiny else parts:  # tracing takes long
                    module.compile(backend="eager" if setting.tiny else "inductor")

            def call(mode: str = mode) -> None:
                with torch.no_grad(), setting.autocast(mode):
                    model([{"image": image}])

            row: Row = {"model": f"{file.parent.name}/{file.stem}", "pixels": side, "mode": mode}
            for each in _row_or_error(row, partial(setting.measured, call)):
                yield each | ({"images/s": 1e3 / each["ms"]} if "ms" in each else {})

    return part


def training(setting: Setting) -> Iterator[Row]:
    """Iterations with AMP on the miniature world; then its second half again, resumed."""
    from frozenseg.engine.trainer import Trainer

    cfg = _training_config(setting, "frozenseg.yaml", 128)
    losses, row = _train(Trainer(cfg), setting)
    yield {"run": "miniature FrozenSeg, 128 pixels, batch 2", **row}
    half = setting.iterations // 2
    (Path(cfg.OUTPUT_DIR) / "last_checkpoint").write_text(f"model_{half - 1:07d}.pth")
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    start = trainer.start_iter
    again, row = _train(trainer, setting)
    deviations = [abs(again[i] / losses[i] - 1) for i in range(start, setting.iterations)]
    row |= {"first loss differs by": deviations[0], "later ones by": max(deviations)}
    yield {"run": f"the same, resumed at iteration {start}", **row}
    if not setting.tiny:
        options = ["SOLVER.IMS_PER_BATCH", "4"]
        cfg = _training_config(setting, "../fcclip/r50.yaml", 1024, *options)
        yield {"run": "FC-CLIP R50, 1024 pixels, batch 4", **_train(Trainer(cfg), setting)[1]}


def _training_config(setting: Setting, name: str, side: int, *opts: str) -> CfgNode:
    from frozenseg.data.catalog.register import register_splits
    from frozenseg.data.miniature.dataset import write_miniature

    os.environ["DETECTRON2_DATASETS"] = str(setting.folder)
    write_miniature(setting.folder / "miniature", {"train": 16, "dev": 0, "val": 0})
    register_splits()
    values = {
        "OUTPUT_DIR": setting.folder / Path(name).stem,
        "MODEL.TEXT_CACHE_DIR": setting.folder / "text",
        "MODEL.DEVICE": setting.device,
        "DATASETS.TRAIN": "('miniature_train_panoptic',)",
        "DATASETS.TEST": "()",
        "DATALOADER.NUM_WORKERS": 0 if setting.tiny else 4,
        "INPUT.IMAGE_SIZE": side,
        "SOLVER.AMP.ENABLED": True,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": setting.iterations,
        "SOLVER.STEPS": "()",
        "SOLVER.WARMUP_ITERS": 3,
        "SOLVER.CHECKPOINT_PERIOD": setting.iterations // 2,
        **({"MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS": ""} if "fcclip" in name else {}),
    }
    pairs = [str(word) for pair in values.items() for word in pair]
    return load_config(MINIATURE / name, [*pairs, *opts])


def _train(trainer: Any, setting: Setting) -> tuple[dict[int, float], Row]:
    """Loss by iteration, and the row of a run."""
    losses: dict[int, float] = {}
    step, start = trainer._trainer.run_step, time.perf_counter()
    times = []

    def run_step() -> None:
        before = time.perf_counter()
        step()
        waiting(setting.device)()
        times.append(time.perf_counter() - before)
        losses[trainer.iter] = trainer.storage.history("total_loss").latest()

    trainer._trainer.run_step = run_step
    trainer.train()
    values = list(losses.values())
    first, last = (statistics.mean(part) for part in (values[:5], values[-5:]))
    return losses, {
        "precision": str(trainer._trainer.precision.dtype or torch.float32).removeprefix("torch."),
        "iterations": len(times),
        "it/s": 1 / statistics.median(times),
        "seconds": time.perf_counter() - start,
        "peak GB": peak_memory(setting.device),
        "first losses": first,
        "last losses": last,
        "loss falls": last < first,
    }


def out_of_memory(setting: Setting) -> Iterator[Row]:
    """An image that a GPU has no room for is computed on the CPU, with the same labels."""
    from frozenseg.device import retry_out_of_memory

    device = ["MODEL.DEVICE", setting.device, "DATASETS.TEST", "()"]
    model = load_model(load_config(MINIATURE / "fcclip.yaml", device), "miniature-fcclip")[0].eval()
    sample = {"image": torch.randint(0, 256, (3, 256, 256), dtype=torch.uint8)}
    wanted = model([sample])[0]["panoptic_seg"][0].cpu()
    forward, places, is_cpu = model.forward, [], setting.device == "cpu"

    def watched(samples: Any) -> Any:
        places.append(str(model.device))
        if is_cpu and len(places) == 1:
            raise torch.cuda.OutOfMemoryError("a stand-in: this device is never full")
        return forward(samples)

    model.forward = watched
    if not is_cpu:
        torch.cuda.empty_cache()
        used, total = torch.cuda.memory_reserved(), torch.cuda.mem_get_info()[1]
        torch.cuda.set_per_process_memory_fraction((used + 2**20) / total)
    with retry_out_of_memory(model):
        found = model([sample])[0]["panoptic_seg"][0].cpu()
    yield {
        "tried on": ", ".join(places),
        "afterwards on": str(model.device),
        "equal labels %": 100 * (found == wanted).float().mean().item(),
    }


def mask_export(setting: Setting) -> Iterator[Row]:
    """SAM's masks of an image, all kept that random weights give."""
    from frozenseg.encoders.sam.automatic_masks import MaskGeneration, SamMasks
    from frozenseg.encoders.sam.model import load_sam

    name, side = ("vit_b", 1024)
    if setting.tiny:
        name, side = str(MINIATURE / "miniature_sam.json"), 128
    torch.manual_seed(0)
    image = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8).numpy()
    settings = MaskGeneration(
        points_per_side=4 if setting.tiny else 32,
        pred_iou_thresh=-1e9,
        stability_score_thresh=0.0,
        box_nms_thresh=1.0,
        min_mask_region_area=0,
    )
    for precision in PRECISIONS:
        generate = SamMasks(load_sam(name, "", setting.device, precision=precision), settings)
        figures = setting.measured(partial(generate, image))
        row = {"SAM": Path(name).stem, "precision": precision, "masks": len(generate(image))}
        yield {**row, **figures, "images/s": 1e3 / figures["ms"]}


def _row_or_error(row: Row, measure: Callable[[], Row]) -> Iterator[Row]:
    """The row with its figures, or with what went wrong: the next one can be measured."""
    try:
        yield row | measure()
    except Exception as error:
        logger.exception("%s", row)
        yield row | {"error": describe(error)[:300]}


# Part -> what it does, and its seconds on a GPU (with 480 together).
PARTS: dict[str, tuple[Part, int]] = {
    "machine": (machine, 20),
    "golden models": (golden, 40),
    "samplers": (samplers, 30),
    "inference R50": (inference("fcclip/r50.yaml"), 50),
    "inference ConvNeXt-L": (inference("fcclip/convnext_large.yaml"), 60),
    "inference FrozenSeg-B": (inference("frozenseg/convnext_large.yaml", "frozenseg.yaml"), 65),
    "inference FrozenSeg-L": (inference("frozenseg/convnext_large_vit_l.yaml"), 75),
    "training and resume": (training, 80),
    "out of memory": (out_of_memory, 20),
    "mask export": (mask_export, 40),
}
