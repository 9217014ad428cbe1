"""FC-CLIP's mask classification; importing the room registers its parts in detectron2.

META_ARCHITECTURE "FCCLIP", backbone "CLIP", heads "FCCLIPHead" and "MSDeformAttnPixelDecoder",
decoder "MultiScaleMaskedTransformerDecoder".
"""

from frozenseg.encoders import clip
from frozenseg.mask_classification import head, model

__all__ = ["clip", "head", "model"]
