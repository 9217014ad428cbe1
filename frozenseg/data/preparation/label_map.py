"""Reading the label map of a MATLAB file (.mat, version 5), as PASCAL Context and SBD have them.

scipy reads them, but of a damaged file it may fail with any exception or even crash (seen with
scipy 1.17), so that the structure is checked first; compressed elements carry a checksum.
Format: "MAT-File Format", https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf
Legend: H and W pixels.
"""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.preparation.raw_files import AGAIN, require_raw
from frozenseg.data.reading import DAMAGED

_HEADER = 128
_COMPRESSED, _MATRIX = 15, 14


def read_label_map(path: Path) -> NDArray[np.int32]:
    """`LabelMap` (H, W) int32. Raises: FileNotFoundError, or ValueError if it is damaged."""
    return _read(path, "LabelMap").astype(np.int32)


def read_segmentation(path: Path) -> NDArray[np.uint8]:
    """`GTcls.Segmentation` (H, W) uint8. Raises: as `read_label_map`."""
    return _read(path, "GTcls", "Segmentation").astype(np.uint8)


def _read(path: Path, name: str, field: str = "") -> NDArray[Any]:
    """The whole numbers (H, W) of a variable, or of a field of it."""
    require_raw(path)
    data = path.read_bytes()
    if not data:
        raise ValueError(f"{path}: the annotation is empty (0 bytes); {AGAIN}")
    reason = _damage(data)
    if reason:
        raise ValueError(f"{path}: damaged or incomplete ({reason}); {DAMAGED}")
    values_HW = _load(path, data, name)
    if values_HW is not None and field:
        has_field = field in (values_HW.dtype.names or ()) and values_HW.size == 1
        values_HW = values_HW[field].item() if has_field else None
    if values_HW is None or values_HW.ndim != 2 or values_HW.dtype.kind not in "ui":
        what = ".".join(filter(None, (name, field)))
        raise ValueError(f"{path}: has no {what} of whole numbers (height, width); {AGAIN}")
    return values_HW


def _damage(data: bytes) -> str:
    """What is wrong with the elements of a file, "" if nothing is."""
    if data[126:128] not in (b"IM", b"MI"):
        return "no MATLAB file of version 5"
    order = "little" if data[126:128] == b"IM" else "big"
    place = _HEADER
    while place < len(data):
        kind = int.from_bytes(data[place : place + 4], order)  # type: ignore[arg-type]
        size = int.from_bytes(data[place + 4 : place + 8], order)  # type: ignore[arg-type]
        body = data[place + 8 : place + 8 + size]
        if kind not in (_COMPRESSED, _MATRIX):
            return f"an element of type {kind}"
        if len(body) < size or size < 8:
            return "the file ends too early"
        if kind == _COMPRESSED:
            try:
                zlib.decompress(body)
            except zlib.error as error:
                return str(error)
        place += 8 + size
    return "" if place > _HEADER else "the file ends too early"


def _load(path: Path, data: bytes, name: str) -> NDArray[Any] | None:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        return loadmat(io.BytesIO(data), variable_names=[name]).get(name)
    except (
        MatReadError, OSError, EOFError, ValueError, TypeError, LookupError, NotImplementedError,
    ) as error:  # fmt: skip
        raise ValueError(f"{path}: damaged or incomplete ({error}); {DAMAGED}") from error
