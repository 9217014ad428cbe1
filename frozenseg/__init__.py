"""Open-vocabulary segmentation with frozen foundation models.

Importing the package imports neither torch nor detectron2; names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {"Vocabulary": "frozenseg.vocab", "load_config": "frozenseg.config"}

__all__ = ["Vocabulary", "__version__", "load_config"]


def __getattr__(name: str) -> Any:
    """Loads an exported name from its module. Raises: AttributeError for other names."""
    if name not in _EXPORTS:
        raise AttributeError(f"module 'frozenseg' has no attribute {name!r}")
    return getattr(import_module(_EXPORTS[name]), name)
