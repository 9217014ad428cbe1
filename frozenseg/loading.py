"""`frozenseg.load`: the model of a name, a config or a folder, on torch or on onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from frozenseg.checkpoints.named_models import DEFAULT_MODEL
from frozenseg.errors import explained_imports
from frozenseg.exporting.manifest import FILE_NAME
from frozenseg.predict import segmenter as on_torch
from frozenseg.predict.model_manifest import MANIFEST
from frozenseg.predict.segmenter import Segmenter

if TYPE_CHECKING:
    import torch


@explained_imports()
def load(
    name_or_config: str | Path = DEFAULT_MODEL,
    weights: str | Path | None = None,
    device: str | torch.device = "auto",
    task: str | None = None,
    *,
    precision: str = "float32",
    opts: Sequence[str] = (),
) -> Segmenter:
    """`predict.segmenter.load`, which also takes the folder of an exported model.

    That is an `ExportedSegmenter`, with the precision of the export. Of a folder that has both, the
    exported model is taken where PyTorch is not installed.
    Raises: as there; ValueError for weights, a precision or opts with an exported model.
    """
    folder = Path(name_or_config).expanduser()
    is_whole = (folder / MANIFEST).is_file() and find_spec("torch")
    if not (folder / FILE_NAME).is_file() or is_whole:
        return on_torch.load(name_or_config, weights, device, task, precision=precision, opts=opts)
    if weights is not None or precision != "float32" or opts:
        raise ValueError(
            f"{folder} is an exported model, with weights and precision of its own: leave weights, "
            "precision and opts out"
        )
    from frozenseg.exporting.runtime import ExportedSegmenter

    return ExportedSegmenter(folder, task, str(device))
