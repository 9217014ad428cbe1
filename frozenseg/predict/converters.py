"""Segments in the forms that other tools take: outlines, tables, their objects, their files.

Legend: H and W pixels of an image, N segments, P points. A point is (x, y); (0, 0) is the outer
corner of the first pixel.
"""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frozenseg.errors import explained_imports
from frozenseg.files import write_json, write_text
from frozenseg.predict.segmented_image import Segment, SegmentedImage

COLUMNS = (
    *("image", "id", "class_index", "name", "is_thing", "score", "area"),
    *("x", "y", "width", "height"),
)
CVAT_VERSION = "1.1"
LABELME_VERSION = "5.5.0"

Ring = NDArray[np.float64]  # (P, 2)


@explained_imports()
def outlines(segment: Segment, *, through_centres: bool = False) -> list[Ring]:
    """One closed ring (P, 2) for each connected part of a segment (8 neighbours).

    Rings run along the edges of pixels: the area that they enclose is the segment's. A hole is
    joined to the ring around it by a cut without width, which the ring runs along twice.

    Args: through_centres: through the centres of the outermost pixels instead, as wanted by tools
        that fill a polygon with its border (OpenCV's fillPoly, Pillow's ImageDraw).
    """
    import cv2

    x, y, width, height = segment.box
    inside_hw = segment.mask[y : y + height, x : x + width].astype(np.uint8)
    if not through_centres:  # of 2 x 2 pixels, the two outermost centres tell the edges apart
        inside_hw = inside_hw.repeat(2, axis=0).repeat(2, axis=1)
    contours, tree = cv2.findContours(inside_hw, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    parts: dict[int, Ring] = {}
    for around, number in sorted((int(each[3]), i) for i, each in enumerate(tree[0])):
        points_P2 = contours[number][:, 0].astype(np.int64)
        points_P2 = points_P2 + 0.5 if through_centres else (points_P2 + 1) // 2
        ring = points_P2.astype(np.float64) + (x, y)
        if around < 0:
            parts[number] = ring
        else:
            parts[around] = _joined(parts[around], ring)
    return [_without_repeats(ring) for ring in parts.values()]


def _joined(ring: Ring, other: Ring) -> Ring:
    """One ring that runs along both, with a short cut between them there and back."""
    there = 0
    for _ in range(2):  # from point to nearest point: never far from the shortest cut
        here = int(((ring - other[there]) ** 2).sum(1).argmin())
        there = int(((other - ring[here]) ** 2).sum(1).argmin())
    return np.concatenate([ring[: here + 1], other[there:], other[: there + 1], ring[here:]])


def _without_repeats(ring: Ring) -> Ring:
    """The ring without points that equal the one before; a single pixel's keeps three."""
    kept = ring[(ring != np.roll(ring, 1, axis=0)).any(1)]
    return kept if len(kept) >= 3 else np.resize(ring, (3, 2))


def table(segmentation: SegmentedImage) -> list[dict[str, Any]]:
    """One row per segment with the keys `COLUMNS`."""
    return [
        dict(
            zip(
                COLUMNS,
                (
                    *(segmentation.source, each.id, each.class_index, each.name, each.is_thing),
                    *(each.score, each.area, *each.box),
                ),
                strict=True,
            )
        )
        for each in segmentation
    ]


def to_pandas(segmentation: SegmentedImage) -> Any:
    """See `Segmentation.to_pandas`."""
    try:
        pd = importlib.import_module("pandas")
    except ImportError as error:
        raise ImportError("to_pandas needs the package pandas: pip install pandas") from error
    return pd.DataFrame(table(segmentation), columns=list(COLUMNS))


def to_csv(segmentation: SegmentedImage, path: Path) -> Path:
    """See `Segmentation.to_csv`."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table(segmentation))
    write_text(path, text.getvalue())
    return path


@explained_imports()
def to_detectron2(segmentation: SegmentedImage) -> Any:
    """See `Segmentation.to_detectron2`."""
    import torch
    from detectron2.structures import Boxes, Instances

    size = segmentation.label_map_HW.shape
    masks = [torch.from_numpy(each.mask) for each in segmentation]
    return Instances(
        size,
        pred_boxes=Boxes(torch.from_numpy(segmentation.boxes_xyxy)),
        pred_masks=torch.stack(masks) if masks else torch.zeros(0, *size, dtype=torch.bool),
        pred_classes=torch.tensor([each.class_index for each in segmentation], dtype=torch.int64),
        scores=torch.tensor([_score(each) for each in segmentation], dtype=torch.float32),
    )


def _score(segment: Segment) -> float:
    """1 where there is no score."""
    return 1.0 if segment.score is None else segment.score


def to_huggingface(segmentation: SegmentedImage) -> list[dict[str, Any]]:
    """See `Segmentation.to_huggingface`."""
    return [
        {
            "label": each.name,
            "score": each.score,
            "mask": Image.fromarray(255 * each.mask.view("u1")),
        }
        for each in segmentation
    ]


def to_fiftyone(segmentation: SegmentedImage) -> list[dict[str, Any]]:
    """See `Segmentation.to_fiftyone`."""
    height, width = segmentation.label_map_HW.shape
    found = []
    for each in segmentation:
        x, y, w, h = each.box
        found.append(
            {
                "label": each.name,
                "bounding_box": [x / width, y / height, w / width, h / height],
                "mask": each.mask[y : y + h, x : x + w],
                "confidence": each.score,
            }
        )
    return found


def to_yolo(segmentation: SegmentedImage, path: Path) -> Path:
    """See `Segmentation.to_yolo`."""
    height, width = segmentation.label_map_HW.shape
    lines = []
    for segment in segmentation:
        ring, *others = outlines(segment, through_centres=True)
        for other in others:
            ring = _joined(ring, other)
        # Readers find the pixel by cutting off (Ultralytics) or by rounding (supervision).
        shares = (ring - 0.25) / (width, height)
        numbers = " ".join(f"{value:.6f}" for value in shares.flat)
        lines.append(f"{segment.class_index} {numbers}\n")
    write_text(path, "".join(lines))
    return path


def to_labelme(segmentation: SegmentedImage, path: Path) -> Path:
    """See `Segmentation.to_labelme`."""
    height, width = segmentation.label_map_HW.shape
    image = f"{path.stem}.jpg"
    if segmentation.source:
        image = os.path.relpath(segmentation.source, path.parent)
    shapes = [
        {
            "label": segment.name,
            "points": ring.tolist(),
            "group_id": segment.id,
            "description": "" if segment.score is None else f"score {segment.score:.3f}",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for segment in segmentation
        for ring in outlines(segment, through_centres=True)
    ]
    content: dict[str, Any] = {
        "version": LABELME_VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": Path(image).as_posix(),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    write_json(path, content, ensure_ascii=False)
    return path


def save_cvat(segmentations: SegmentedImage | Iterable[SegmentedImage], path: str | Path) -> Path:
    """Writes segmentations into one XML file, "CVAT for images 1.1": one exact mask per segment.

    Images are named by their paths below the folder that all have in common, which is how CVAT
    finds them; the labels are the classes of all vocabularies.
    Raises: ValueError for no segmentation.
    Format: https://docs.cvat.ai/docs/other/xml_format (images, `mask`).
    """
    given = [segmentations] if isinstance(segmentations, SegmentedImage) else list(segmentations)
    if not given:
        raise ValueError("nothing to export: no segmentation was given")
    path = Path(path).expanduser()
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = CVAT_VERSION
    labels = ElementTree.SubElement(_nested(root, "meta", "task"), "labels")
    vocabularies = [each.vocabulary for each in given]
    colors = {
        name: color for v in vocabularies for name, color in zip(v.names, v.colors, strict=True)
    }
    for name, (red, green, blue) in colors.items():
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = f"#{red:02x}{green:02x}{blue:02x}"
    sources = [each.source or f"{number:06d}.jpg" for number, each in enumerate(given)]
    for number, (name, each) in enumerate(zip(below_common_folder(sources), given, strict=True)):
        height, width = each.label_map_HW.shape
        about = {"id": number, "name": name, "width": width, "height": height}
        image = ElementTree.SubElement(root, "image", _texts(about))
        for order, segment in enumerate(reversed(each.segments)):  # the best lies on top
            ElementTree.SubElement(image, "mask", _texts(_cvat_mask(segment, order)))
    ElementTree.indent(root)
    write_text(path, ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n")
    return path


def _nested(element: ElementTree.Element, *names: str) -> ElementTree.Element:
    for name in names:
        element = ElementTree.SubElement(element, name)
    return element


def _texts(values: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def _cvat_mask(segment: Segment, order: int) -> dict[str, Any]:
    """Attributes of a mask: lengths of runs inside its box, row by row, the first one outside."""
    x, y, width, height = segment.box
    pixels = segment.mask[y : y + height, x : x + width].ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=False, append=not pixels[-1]))
    return {
        "label": segment.name,
        "source": "auto",
        "occluded": 0,
        "rle": ", ".join(map(str, np.diff(changes, prepend=0))),
        **{"left": x, "top": y, "width": width, "height": height, "z_order": order},
    }


def below_common_folder(paths: Sequence[str]) -> list[str]:
    """The paths of files relative to the folder that all have in common."""
    absolute = [Path(path).absolute() for path in paths]
    common = os.path.commonpath([path.parent for path in absolute]) if absolute else ""
    return [path.relative_to(common).as_posix() for path in absolute]
