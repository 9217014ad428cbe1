"""From a record of an episodic dataset to what Fusioner takes: an image, labels, words asked for.

Legend: S side of the training square, H and W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from numpy.typing import NDArray

from frozenseg.data.episodes import IGNORE_LABEL, UNLABELLED
from frozenseg.data.mappers.episode_augment import augment, draw_box, resize_box
from frozenseg.data.mappers.geometry import channels_first
from frozenseg.data.reading import check_same_size, read_image, read_label_png
from frozenseg.resize import resize_to_edges
from frozenseg.structures import BACKGROUND, IGNORED, OTHER_CLASS


class EpisodeMapper:
    """Reads an image and its labels; in training cuts out a square and draws the class asked for.

    Training: `image` (3, S, S) uint8 RGB, `labels` (S, S) int32, `asked` int, one of the record's
    classes that the square still shows (of all of them if it shows none), file_name and image_id.
    Tests: the record, with `image` (3, H, W) of its own size or `test_size`, `labels` (height,
    width) int32 of the file's size, `asked` a tuple, height and width of the file.
    Labels are class indices or BACKGROUND, IGNORED, OTHER_CLASS of `structures`.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        size: int = 224,
        augment: bool = True,
        color_jitter: float = 0.5,
        rotation: float = 20.0,
        test_size: tuple[int, int] = (0, 0),
    ) -> None:
        """
        Args:
            size: side S of the training square in pixels.
            augment: False: the square is the whole image, whatever its aspect ratio, so that its
                features can be kept; only the class is drawn.
            color_jitter: brightness, contrast and saturation change by factors in 1 +- this.
            rotation: largest rotation in degrees.
            test_size: shortest and longest edge of test images; 0 keeps their size.
        Raises: ValueError for a size below 1 or a negative strength.
        """
        for name, value, least in (
            ("INPUT.IMAGE_SIZE", size, 1),
            ("INPUT.EPISODES.COLOR_JITTER", color_jitter, 0),
            ("INPUT.EPISODES.ROTATION", rotation, 0),
        ):
            if value < least:
                raise ValueError(f"{name} is {value}: at least {least} is needed")
        self.is_train = is_train
        self.size = size
        self.augment = augment
        self.color_jitter = color_jitter
        self.rotation = rotation
        self.test_size = test_size

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Where the config ends: the INPUT section."""
        return {
            "is_train": is_train,
            "size": cfg.INPUT.IMAGE_SIZE,
            "augment": cfg.INPUT.EPISODES.AUGMENT,
            "color_jitter": cfg.INPUT.EPISODES.COLOR_JITTER,
            "rotation": cfg.INPUT.EPISODES.ROTATION,
            "test_size": (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        }

    def __call__(
        self, record: dict[str, Any], generator: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """Maps one record (unchanged); `generator` makes the random draws of training.

        Raises: FileNotFoundError and ValueError that name the file.
        """
        asked = _asked(record)
        image_HW3 = read_image(record["file_name"], record.get("exif", "turn"))
        labels_HW = read_episode_labels(record)
        size = image_HW3.shape[:2]
        check_same_size(record["sem_seg_file_name"], labels_HW.shape, record["file_name"], size)
        if self.is_train:
            generator = generator or np.random.default_rng()
            return self._map_training(record, image_HW3, labels_HW, asked, generator)
        return {
            **record,
            "asked": asked,
            "height": size[0],
            "width": size[1],
            "labels": torch.from_numpy(labels_HW.astype(np.int32)),
            "image": channels_first(resize_to_edges(image_HW3, *self.test_size)),
        }

    def _map_training(
        self,
        record: dict[str, Any],
        image_HW3: NDArray[np.uint8],
        labels_HW: NDArray[np.int16],
        asked: tuple[int, ...],
        generator: np.random.Generator,
    ) -> dict[str, Any]:
        height, width = labels_HW.shape
        box = draw_box(height, width, generator) if self.augment else (0, 0, height, width)
        image_SS3, labels_SS = resize_box(image_HW3, labels_HW, box, self.size)
        if self.augment:
            image_SS3, labels_SS = augment(
                image_SS3,
                labels_SS,
                generator,
                color_jitter=self.color_jitter,
                rotation=self.rotation,
            )
        shown = [index for index in asked if (labels_SS == index).any()] or asked
        return {
            "file_name": record["file_name"],
            "image_id": record["image_id"],
            "image": channels_first(image_SS3),
            "labels": torch.from_numpy(np.ascontiguousarray(labels_SS, dtype=np.int32)),
            "asked": int(generator.choice(shown)),
        }


def read_episode_labels(record: dict[str, Any]) -> NDArray[np.int16]:
    """Labels (H, W) int16 of a record's `sem_seg_file_name`, whose classes have `label_ids`.

    Ids of other classes become OTHER_CLASS. Raises: as `read_label_png`.
    """
    values_HW = read_label_png(record["sem_seg_file_name"])
    ids = record["label_ids"]
    largest = max(int(values_HW.max(initial=0)), IGNORE_LABEL, *ids)
    label_of_id = np.full(largest + 1, OTHER_CLASS, dtype=np.int16)
    label_of_id[UNLABELLED] = BACKGROUND
    label_of_id[list(ids)] = np.arange(len(ids))
    label_of_id[IGNORE_LABEL] = IGNORED
    return label_of_id[values_HW]


def _asked(record: dict[str, Any]) -> tuple[int, ...]:
    lacking = [key for key in ("asked", "label_ids", "sem_seg_file_name") if not record.get(key)]
    if lacking:
        raise ValueError(
            f"{record['file_name']}: the record has no {' and no '.join(lacking)}: only datasets "
            "of the kind 'episodes' (such as pascal_5i_fold0_train) ask for classes"
        )
    return tuple(int(index) for index in record["asked"])
