"""Where the windows of an image lie; without torch, for exported models, too."""

from __future__ import annotations


def window_starts(length: int, crop: int, stride: int) -> range:
    """Where the windows of an axis of `length` pixels begin."""
    further = max(0, -(-(length - crop) // stride))
    return range(0, (further + 1) * stride, stride)


def covered(starts: range, crop: int, length: int) -> list[int]:
    """How many windows cover each pixel of an axis."""
    return [sum(start <= pixel < start + crop for start in starts) for pixel in range(length)]


def check_windows(shape: tuple[int, ...], crop: int, stride: int, batch: int) -> None:
    """Raises: ValueError for an empty image, sizes that leave gaps, no window per call."""
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"the image has shape {shape}: (C, H, W) is needed")
    if not 0 < stride <= crop:
        raise ValueError(
            f"windows of {crop} pixels every {stride} pixels leave gaps: 0 < stride <= crop"
        )
    if batch < 1:
        raise ValueError(f"{batch} windows per call: at least 1 is needed")
