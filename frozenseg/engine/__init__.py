"""Training, evaluation and prediction; importing the room registers the models in detectron2."""

from frozenseg import fusioner, mask_classification

__all__ = ["fusioner", "mask_classification"]
