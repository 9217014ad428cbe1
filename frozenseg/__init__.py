"""Open-vocabulary segmentation with frozen foundation models.

    import frozenseg
    segmenter = frozenseg.load("miniature-fcclip")
    segmenter(frozenseg.sample_image(), "purple heart; sand:stuff").save("scene.json")

Importing the package imports neither torch nor detectron2; names are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from frozenseg.errors import explained_imports
from frozenseg.files import sample_image

__version__ = "0.1.0"

if TYPE_CHECKING:
    from frozenseg.config import load_config
    from frozenseg.exporting.runtime import ExportedSegmenter
    from frozenseg.loading import load, segment
    from frozenseg.predict.coco_export import save_coco
    from frozenseg.predict.results import Results
    from frozenseg.predict.segmentation import Segmentation
    from frozenseg.predict.segmented_image import Segment
    from frozenseg.predict.segmenter import Segmenter, models
    from frozenseg.vocab import Vocabulary

_EXPORTS = {
    "ExportedSegmenter": "frozenseg.exporting.runtime",
    "Results": "frozenseg.predict.results",
    "Segment": "frozenseg.predict.segmented_image",
    "Segmentation": "frozenseg.predict.segmentation",
    "Segmenter": "frozenseg.predict.segmenter",
    "Vocabulary": "frozenseg.vocab",
    "load": "frozenseg.loading",
    "load_config": "frozenseg.config",
    "models": "frozenseg.predict.segmenter",
    "save_coco": "frozenseg.predict.coco_export",
    "segment": "frozenseg.loading",
}

__all__ = [
    "ExportedSegmenter",
    "Results",
    "Segment",
    "Segmentation",
    "Segmenter",
    "Vocabulary",
    "__version__",
    "load",
    "load_config",
    "models",
    "sample_image",
    "save_coco",
    "segment",
]


def __getattr__(name: str) -> Any:
    """Loads an exported name from its module.

    Raises: AttributeError for other names; ImportError with the remedy without detectron2.
    """
    if name not in _EXPORTS:
        raise AttributeError(f"module 'frozenseg' has no attribute {name!r}")
    with explained_imports():
        return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion; nothing is imported."""
    return sorted(__all__)
