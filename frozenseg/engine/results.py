"""The segmentations of several images, one after another.

Legend: H and W pixels. Images are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from frozenseg.engine.images import ImageLike, read_image, source_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from frozenseg.engine.segmentation import Segmentation

logger = logging.getLogger(__name__)


class Results:
    """The segmentations of several images, computed one at a time as they are asked for.

    An image that cannot be read raises its error when its turn comes (the next call goes on with
    the image after it), or is left out. `len()`, the number of images, is known unless they come
    from an iterator.

    Attributes:
        skipped: (path, reason) of the images that were left out so far.
    """

    def __init__(
        self,
        images: Sequence[ImageLike] | Iterator[ImageLike],
        segment: Callable[[NDArray[np.uint8], str], Segmentation],
        *,
        skip_bad: bool = False,
    ) -> None:
        """`segment` takes the pixels and the path of one image."""
        self.skipped: list[tuple[str, str]] = []
        self._images, self._segment, self._skip_bad = images, segment, skip_bad
        self._rest = iter(images)

    def __len__(self) -> int:
        if isinstance(self._images, Sequence):
            return len(self._images)
        raise TypeError("the number of images is not known: they come from an iterator")

    def __length_hint__(self) -> int:
        return len(self._images) if isinstance(self._images, Sequence) else 0

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Segmentation:
        for image in self._rest:
            try:
                image_HW3 = read_image(image)
            except (OSError, ValueError, TypeError) as error:
                if not self._skip_bad:
                    raise
                self.skipped.append((source_of(image), str(error)))
                logger.warning("%d image(s) left out: %s", len(self.skipped), error)
                continue
            return self._segment(image_HW3, source_of(image))
        raise StopIteration
