"""The resize of test images, in evaluation and in the predictor.

Legend: H and W pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def resize_to_edges(
    image_HW3: NDArray[np.uint8], shortest_edge: int, longest_edge: int
) -> NDArray[np.uint8]:
    """detectron2's ResizeShortestEdge, except that a side never gets smaller than 1 pixel.

    Args:
        shortest_edge: wanted length in pixels; 0 keeps the image's own size.
        longest_edge: limit of the other side; it goes before `shortest_edge`.
    """
    from detectron2.data.transforms import ResizeShortestEdge, ResizeTransform

    if shortest_edge == 0:
        return image_HW3
    height, width = image_HW3.shape[:2]
    new = ResizeShortestEdge.get_output_shape(height, width, shortest_edge, longest_edge)
    new_height, new_width = (max(1, side) for side in new)
    return ResizeTransform(height, width, new_height, new_width).apply_image(image_HW3)
