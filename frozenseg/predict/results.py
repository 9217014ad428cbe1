"""The segmentations of several images, one at a time.

Legend: H and W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from frozenseg.predict.images import ImageLike, read_image, source_of
from frozenseg.predict.segmentation import Segmentation

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)


class Results:
    """The segmentations of several images, computed one at a time as they are asked for.

    An image that cannot be read raises its error when its turn comes (the next call goes on with
    the image after it), or is left out. `len()`, the number of images, is known unless they come
    from an iterator; then `results[i]` is the segmentation of image i, and `results[2:5]` are
    Results of their own. The last segmentation is kept, others that are asked for again are
    computed again: take `list(results)` to keep all.

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
        self._rest = enumerate(images)
        self._last: tuple[int, Segmentation] | None = None

    def __repr__(self) -> str:
        count = len(self._images) if isinstance(self._images, Sequence) else "unknown number of"
        left_out = f", {len(self.skipped)} left out" if self.skipped else ""
        return f"<Results of {count} image(s){left_out}>"

    def __len__(self) -> int:
        if isinstance(self._images, Sequence):
            return len(self._images)
        raise TypeError("the number of images is not known: they come from an iterator")

    def __length_hint__(self) -> int:
        return len(self._images) if isinstance(self._images, Sequence) else 0

    def __getitem__(self, index: int | slice) -> Any:
        """The segmentation of an image, or `Results` of several; an iteration goes on as before.

        Raises: TypeError for images from an iterator; an error of the image, also with skip_bad.
        """
        if not isinstance(self._images, Sequence):
            raise TypeError(
                "these images come from an iterator, one at a time: next(results), a loop, or "
                f"list(results)[{index!r}]"
            )
        if isinstance(index, slice):
            return Results(self._images[index], self._segment, skip_bad=self._skip_bad)
        number = range(len(self._images))[index]
        if self._last is None or self._last[0] != number:
            image = self._images[number]
            self._last = number, self._segment(read_image(image), source_of(image))
        return self._last[1]

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Segmentation:
        for number, image in self._rest:
            try:
                image_HW3 = read_image(image)
            except (OSError, ValueError, TypeError) as error:
                if not self._skip_bad:
                    raise
                self.skipped.append((source_of(image), str(error)))
                logger.warning("%d image(s) left out: %s", len(self.skipped), error)
                continue
            if self._last is None or self._last[0] != number:
                self._last = number, self._segment(image_HW3, source_of(image))
            return self._last[1]
        raise StopIteration
