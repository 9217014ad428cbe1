"""`frozenseg.load` and `segment`: a name, a config or a folder, on torch or on onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.checkpoints.named_models import DEFAULT_MODEL
from frozenseg.errors import explained_imports
from frozenseg.exporting.manifest import FILE_NAME
from frozenseg.predict import segmenter as on_torch
from frozenseg.predict.images import Images
from frozenseg.predict.model_manifest import MANIFEST
from frozenseg.predict.segmenter import Segmenter
from frozenseg.predict.words import Words

if TYPE_CHECKING:
    import torch


@explained_imports()
def load(
    name_or_config: str | Path = DEFAULT_MODEL,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    task: str | None = None,
    *,
    precision: str | torch.dtype = "float32",
    compile: bool = False,
    opts: Sequence[str] = (),
) -> Segmenter:
    """`predict.segmenter.load`, which also takes the folder of an exported model.

    That is an `ExportedSegmenter`, with the precision of the export. Of a folder that has both, the
    exported model is taken where PyTorch is not installed.
    Raises: as there; ValueError for weights, a precision, compile or opts with an exported model.
    """
    folder = Path(name_or_config).expanduser()
    is_whole = (folder / MANIFEST).is_file() and find_spec("torch")
    if not (folder / FILE_NAME).is_file() or is_whole:
        return on_torch.load(
            name_or_config,
            weights,
            device,
            task,
            precision=precision,
            compile=compile,
            opts=opts,
        )
    if weights is not None or precision != "float32" or compile or opts:
        raise ValueError(
            f"{folder} is an exported model, with weights and precision of its own: leave weights, "
            "precision, compile and opts out"
        )
    from frozenseg.exporting.runtime import ExportedSegmenter

    return ExportedSegmenter(folder, task, str(device))


def segment(
    image: Images,
    vocabulary: Words | None = None,
    task: str | None = None,
    *,
    model: str | Path = DEFAULT_MODEL,
    device: str | torch.device = "auto",
    background: str | None = None,
    score_threshold: float | None = None,
) -> Any:
    """`load(model)(image, vocabulary, task)` in one call; the last model stays in memory.

    The default model is the shipped miniature, which knows the words of its synthetic world only:
    photographs need a real one (`frozenseg.models()`).
    Args and errors: see `load` and `Segmenter.__call__`.
    """
    segmenter = _loaded(str(model), str(device))
    return segmenter(
        image, vocabulary, task, background=background, score_threshold=score_threshold
    )


@lru_cache(maxsize=1)
def _loaded(model: str, device: str) -> Segmenter:
    return load(model, device=device)
