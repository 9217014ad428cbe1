r"""Draws what a model sees in images of a dataset: image | ground truth | prediction.

    frozenseg draw --config-file configs/miniature/fcclip.yaml \
        --weights miniature-fcclip --dataset miniature_val_panoptic

Writes one sheet for each image, NAME.png. A star marks classes that were not trained on; the legend
says which classes were missed (only in the ground truth) and which are wrong (only predicted).
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.cli.options import add_shared, whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from frozenseg.predict.segmentation import Segmentation
    from frozenseg.visualization.overlay import SegmentStyle
    from frozenseg.vocab import Vocabulary

STAR = " ★"
LEGEND_TITLE = "★ not trained on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--config-file", required=True, metavar="YAML", help="config of the model")
    add("--weights", default="", metavar="FILE", help="default: MODEL.WEIGHTS of the config")
    add("--dataset", metavar="NAME", help="registered name; default: the first of DATASETS.TEST")
    add("--count", type=whole(1), default=6, metavar="N", help="images (default: %(default)s)")
    add("--output", type=Path, default="output/pictures", metavar="FOLDER", help="%(default)s")
    add_shared(parser, "--device")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys and their values")


def main(args: argparse.Namespace) -> None:
    """Draws the sheets."""
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from PIL import Image

    from frozenseg.config import load_config
    from frozenseg.data.catalog.register import register_datasets, registered_split
    from frozenseg.data.reading import read_image
    from frozenseg.device import pick_device
    from frozenseg.engine.evaluate import seen_of, with_row
    from frozenseg.files import write_atomically
    from frozenseg.predict.predictor import build_predictor
    from frozenseg.progress import bar, lines_on_stderr

    cfg = load_config(args.config_file, args.opts)
    cfg.MODEL.DEVICE = pick_device(args.device)
    register_datasets(cfg)
    name = args.dataset or next(iter(cfg.DATASETS.TEST), "")
    row = registered_split(name)
    cfg = with_row(cfg, row)
    if "panoptic" not in row.tasks:
        raise ValueError(
            f"--dataset {name} has no panoptic ground truth to draw, only {', '.join(row.tasks)}"
        )
    records = DatasetCatalog.get(name)[: args.count]
    with lines_on_stderr():
        predictor, report = build_predictor(cfg, weights=args.weights)
    if report is None:
        print("warning: no --weights: the mask decoder is random, its segments mean nothing")
    vocabulary: Vocabulary = MetadataCatalog.get(name).vocabulary
    predictor.set_vocabulary(vocabulary)
    seen = seen_of(cfg, vocabulary)
    unseen = {i for i, known in enumerate(seen or ()) if not known}
    for record in bar(records, "pictures", "image"):
        image = read_image(record["file_name"], record.get("exif", "turn"))
        sheet = draw_sheet(image, ground_truth(record, vocabulary), predictor(image), unseen)
        path = args.output / f"{Path(record['file_name']).stem}.png"
        write_atomically(path, Image.fromarray(sheet).save)
    print(f"{len(records)} sheets in {args.output}")


def ground_truth(record: dict[str, Any], vocabulary: Vocabulary) -> Segmentation:
    """The panoptic annotation of a dataset's record, its segments numbered from 1."""
    import numpy as np

    from frozenseg.data.reading import ids_of_rgb, read_panoptic_png
    from frozenseg.predict.segmentation import from_label_map

    ids_HW = ids_of_rgb(read_panoptic_png(record["pan_seg_file_name"]))
    label_map_HW = np.zeros(ids_HW.shape, dtype=np.int32)
    segments = record["segments_info"]
    for number, segment in enumerate(segments, start=1):
        label_map_HW[ids_HW == segment["id"]] = number
    classes = {i: segment["category_id"] for i, segment in enumerate(segments, start=1)}
    return from_label_map(label_map_HW, classes, vocabulary, "panoptic")


def draw_sheet(
    image_HW3: NDArray[np.uint8], truth: Segmentation, prediction: Segmentation, unseen: set[int]
) -> NDArray[np.uint8]:
    """Image, ground truth and prediction side by side with a legend.

    Args:
        unseen: indices of the classes to mark with a star.
    """
    from frozenseg.resize import nearest_resize
    from frozenseg.visualization.overlay import overlay_label_map
    from frozenseg.visualization.sheet import side_by_side, to_picture_size

    shown_HW3 = to_picture_size(image_HW3)
    pictures = [("image", shown_HW3)]
    for title, result in (("ground truth", truth), ("prediction", prediction)):
        labels_HW = nearest_resize(result.label_map_HW, (shown_HW3.shape[0], shown_HW3.shape[1]))
        styles = {
            s.id: class_style(s.class_index, truth.vocabulary, unseen) for s in result.segments
        }
        pictures.append((title, overlay_label_map(shown_HW3, labels_HW, styles)))
    return side_by_side(pictures, legend_entries(truth, prediction, unseen), LEGEND_TITLE)


def class_style(
    index: int, vocabulary: Vocabulary, unseen: set[int], note: str = ""
) -> SegmentStyle:
    """A class's name, with a star if it is unseen, and its colour."""
    from frozenseg.visualization.overlay import SegmentStyle

    name = vocabulary.names[index] + (STAR if index in unseen else "") + note
    return SegmentStyle(name, vocabulary.colors[index])


def legend_entries(
    truth: Segmentation, prediction: Segmentation, unseen: set[int]
) -> Sequence[SegmentStyle]:
    """One entry per class, the largest first; says if only one of the two has the class."""
    areas: Counter[int] = Counter()
    for segment in (*truth.segments, *prediction.segments):
        areas[segment.class_index] += segment.area
    real, found = ({s.class_index for s in each.segments} for each in (truth, prediction))
    notes = dict.fromkeys(real - found, " (missed)") | dict.fromkeys(found - real, " (wrong)")
    return [
        class_style(index, truth.vocabulary, unseen, notes.get(index, ""))
        for index, _ in areas.most_common()
    ]
