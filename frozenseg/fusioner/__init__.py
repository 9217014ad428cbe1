"""Fusioner; importing the room registers META_ARCHITECTURE "Fusioner" in detectron2."""

from frozenseg.fusioner import model

__all__ = ["model"]
