"""The miniature SAM, with weights that can learn."""

from __future__ import annotations

from pathlib import Path

from segment_anything.modeling import Sam

from frozenseg.encoders.sam.config import read_sam_config
from frozenseg.encoders.sam.model import load_sam as load_frozen_sam

SAM_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "miniature" / "miniature_sam.json"


def build_sam(config_file: Path = SAM_CONFIG) -> Sam:
    """A SAM with the sizes of the JSON file and random weights; works with SamPredictor."""
    return Sam(*read_sam_config(str(config_file)).build_modules()).eval()


def load_sam(weights: Path, config_file: Path = SAM_CONFIG) -> Sam:
    """The SAM of the JSON file, frozen, with the weights of a file (any float type).

    Raises: FileNotFoundError, or ValueError where names or shapes do not fit.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} does not exist; run tools/pretrain_miniature.py sam")
    return load_frozen_sam(str(config_file), str(weights))
