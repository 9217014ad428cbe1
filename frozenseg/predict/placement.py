"""Where a segmenter computes, in which precision, and compiled or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import threading

    import torch

    from frozenseg.predict.predictor import Predictor

_Self = TypeVar("_Self", bound="Placement")


class Placement:
    """The part of `Segmenter` that moves its model; calls in progress are waited for."""

    predictor: Predictor
    _lock: threading.Lock

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.predictor.device

    @property
    def precision(self) -> str:
        """What it computes in: "float32", "bfloat16", "float16" or "auto"."""
        return self.predictor.precision

    def to(self: _Self, *wanted: str | torch.device | torch.dtype) -> _Self:
        """Moves the model to a device and computes in a precision from now on, as told.

        The weights stay float32: half precision is that of the operators (autocast).

        Args: wanted: a device ("cuda", torch.device("cpu"), "auto"), a precision (torch.bfloat16,
            "float16"), or both.
        Returns: this object. Raises: ValueError for a device or precision that cannot be used.
        """
        from frozenseg.device import PRECISIONS, pick_device, precision_name

        for each in wanted:
            is_name = each in PRECISIONS and each != "auto"  # which is a device
            is_precision = is_name or type(each).__name__ == "dtype"
            with self._lock:
                if is_precision:
                    self.predictor.precision = precision_name(each)  # type: ignore[arg-type]
                else:
                    self.predictor.model.to(pick_device(each))  # type: ignore[arg-type]
        return self

    def half(self: _Self) -> _Self:
        """`to("float16")`."""
        return self.to("float16")

    def float(self: _Self) -> _Self:
        """`to("float32")`."""
        return self.to("float32")

    def compile(self: _Self, **options: Any) -> _Self:
        """Compiles encoders and decoder by torch.compile; the first images take minutes.

        One graph serves all sizes and numbers of words; square images, batches and single words may
        need one more each. Text tower and postprocessing are not compiled; copies of this object
        and those in other processes are not either.

        Args: options: of torch.compile, such as `mode="max-autotune"`.
        Returns: this object.
        Raises: FileNotFoundError where there is no C++ compiler (on Nvidia GPUs: no Triton).
        """
        with self._lock:
            self.predictor.compile(**options)
        return self
