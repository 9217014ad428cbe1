"""Training, evaluation and prediction; importing the room registers the models in detectron2."""

from frozenseg import mask_classification

__all__ = ["mask_classification"]
