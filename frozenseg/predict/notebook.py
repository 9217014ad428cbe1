"""How a segmentation shows itself: in notebooks, and in a window."""

from __future__ import annotations

import base64
import html
import io
import sys

import numpy as np
from PIL import Image, ImageShow

from frozenseg.predict.segmentation_files import label_image
from frozenseg.predict.segmented_image import SegmentedImage

LARGEST_SIDE = 1024  # pixels; notebooks keep pictures
MOST_ENTRIES = 40  # of a legend

_CHIP = "display:inline-block;width:.8em;height:.8em;border:1px solid;margin-right:.4em;background:"
_LEGEND = "display:flex;flex-wrap:wrap;gap:.2em 1.2em;margin-top:.4em"


def picture(segmentation: SegmentedImage) -> Image.Image:
    """The overlay, or the label map in its colours where the image is not known; reduced."""
    if segmentation.image_HW3 is None:
        image = label_image(segmentation)
        image.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.NEAREST)
        return image
    small = Image.fromarray(segmentation.image_HW3)
    small.thumbnail((LARGEST_SIDE, LARGEST_SIDE))  # before names are written: they stay sharp
    return Image.fromarray(segmentation.overlay(np.asarray(small)))


def as_png(segmentation: SegmentedImage) -> bytes:
    """The picture as a PNG file."""
    file = io.BytesIO()
    picture(segmentation).save(file, "PNG")
    return file.getvalue()


def as_html(segmentation: SegmentedImage) -> str:
    """The picture with a legend, the largest segments first; every text is escaped."""
    height, width = segmentation.label_map_HW.shape
    styles = segmentation.styles
    by_area = sorted(segmentation, key=lambda segment: -segment.area)
    entries = []
    for segment in by_area[:MOST_ENTRIES]:
        color = "#{:02x}{:02x}{:02x}".format(*styles[segment.id].color)
        score = "" if segment.score is None else f" {segment.score:.2f}"
        share = 100 * segment.area / (height * width)
        entries.append(
            f'<span><span style="{_CHIP}{color}"></span>{html.escape(segment.name)}{score}'
            f' <span style="opacity:.7">{share:.1f}&thinsp;%</span></span>'
        )
    if len(by_area) > MOST_ENTRIES:
        entries.append(f"<span>and {len(by_area) - MOST_ENTRIES} more</span>")
    source = f", {html.escape(segmentation.source)}" if segmentation.source else ""
    data = base64.b64encode(as_png(segmentation)).decode("ascii")
    return (
        f'<figure style="margin:0"><img style="max-width:100%" alt="segmented image" '
        f'src="data:image/png;base64,{data}"><figcaption>{segmentation.task} segmentation, '
        f'{height} &times; {width}{source}<div style="{_LEGEND}">'
        f"{''.join(entries) or 'no segments'}</div></figcaption></figure>"
    )


def show(segmentation: SegmentedImage) -> None:
    """See `Segmentation.show`."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and shell.has_trait("kernel"):
        ipython.display.display(segmentation)  # type: ignore[union-attr]
    elif not ImageShow.show(picture(segmentation), "segmentation"):
        raise OSError("there is no program here that shows pictures: save it, .save('scene.jpg')")
