"""The stand-in for a model (tests/stand_in.py)."""

from tests.stand_in import shapes_root, stand_in_cfg

__all__ = ["shapes_root", "stand_in_cfg"]
