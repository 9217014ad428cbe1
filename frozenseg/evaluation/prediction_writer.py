"""Predictions of an evaluation as files that other programs score: COCO's formats and label maps.

A folder predictions/DATASET has, of what the dataset's ground truth can score,
panoptic.json and panoptic/*.png: COCO's panoptic format (ids of images and categories are those of
    the dataset; things and stuff in `categories`), as panopticapi reads it,
instance.json: COCO's format of results (image_id, category_id, score, RLE), as pycocotools reads
    it. There is no `bbox`: with one, pycocotools takes its area for that of the mask,
semantic.json and semantic/*.png: label maps with the values of the dataset's own ones (category ids
    where it has none), 8 or 16 bits; `label` of a category is its value,
images.json: id, file name and size of every image,
predictions.json, last: dataset, protocol, hashes, categories with their words and label values,
    `none`, the label value of no class, and the SHA-256 of the other JSON files, which have the
    digests of the PNGs.

Everything is written image by image into the hidden folder .DATASET.part, which gets its name when
all is there. Each process writes its share; the main one joins them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.coco_writing import (
    category_entries,
    encode_mask,
    write_label_map,
    write_segment_ids,
)
from frozenseg.data.image_files import output_names
from frozenseg.data.panoptic_pixels import compare_segments
from frozenseg.evaluation.results import plain
from frozenseg.evaluation.semantic_iou import predicted_labels
from frozenseg.files import NotWrittenError, file_digest, file_sha256, write_atomically, write_json
from frozenseg.versions import package_versions
from frozenseg.vocab import Vocabulary

FORMAT = 1
FOLDER = "predictions"  # below that of results.json
INDEX = "predictions.json"
KINDS = ("panoptic", "instance", "semantic")
LARGEST_LABEL = 65_535  # of a grey PNG
_PART = ".part"


def prediction_folder(folder: Path, dataset: str) -> Path:
    """Where the predictions of a dataset are, below the folder of results.json."""
    return folder / FOLDER / dataset


def part_folder(folder: Path) -> Path:
    """Where the predictions are until `folder` is complete."""
    return folder.with_name(f".{folder.name}{_PART}")


def is_part_folder(folder: Path) -> bool:
    """Whether a folder, of this name, is a `part_folder`."""
    return folder.name.startswith(".") and folder.name.endswith(_PART)


def label_values(row: DatasetSplit, ids: Sequence[int]) -> tuple[int, ...]:
    """Value of every class in label maps: as in the dataset's own ones, else its category id.

    Without maps of its own, and with ids that are too large for a PNG: the class index.
    """
    indices = row.semantic_masks and not row.labels_are_ids
    return tuple(range(len(ids))) if indices or max(ids) > LARGEST_LABEL else tuple(ids)


def no_class_value(values: Sequence[int], ignore_label: int) -> int:
    """The smallest label value that is neither that of a class nor the ignored one."""
    taken = {*values, ignore_label}
    return next(value for value in range(len(taken) + 1) if value not in taken)


class PredictionWriter(DatasetEvaluator):
    """Writes the outputs of every image; it scores nothing, and must be the last evaluator."""

    def __init__(
        self,
        folder: Path,
        row: DatasetSplit,
        vocabulary: Vocabulary,
        kinds: Sequence[str],
        records: Sequence[Mapping[str, Any]],
        about: Mapping[str, Any],
    ) -> None:
        """
        Args:
            folder: is there when all predictions are; one of an earlier run is then replaced.
            kinds: of `KINDS`, those that are written.
            records: all images of the dataset, in every process.
            about: further entries of predictions.json, such as the protocol.
        Raises: ValueError if `folder` is there and has something else.
        """
        if folder.exists() and not (folder / INDEX).is_file():
            raise ValueError(
                f"{folder}: predictions are to be written there, but what is there has no {INDEX}: "
                "move it away"
            )
        self.folder, self.part = folder, part_folder(folder)
        self.kinds = tuple(kinds)
        self.about = about
        self.category_ids = tuple(class_of_category(row, vocabulary))
        self.values = label_values(row, self.category_ids)
        self.none = no_class_value(self.values, row.ignore_label)
        self.categories = [
            {**entry, "words": list(words), "label": value}
            for entry, words, value in zip(
                category_entries(vocabulary, self.category_ids),
                vocabulary.synonyms,
                self.values,
                strict=True,
            )
        ]
        names = output_names([Path(record["file_name"]) for record in records])
        self.names = dict(zip((r["image_id"] for r in records), names, strict=True))

    def reset(self) -> None:
        """Begins with an empty folder. Raises: OSError if there can be none."""
        if comm.is_main_process():
            shutil.rmtree(self.part, ignore_errors=True)
            try:
                self.part.mkdir(parents=True)
            except OSError as error:
                raise NotWrittenError(self.part, error) from error
        comm.synchronize()
        for what in ("images", *self.kinds):
            self._append(what, [])

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Writes images. Raises: NotWrittenError."""
        entries_of = {
            "panoptic": self._panoptic,
            "instance": self._instance,
            "semantic": self._semantic,
        }
        for record, output in zip(inputs, outputs, strict=True):
            size = {"height": record["height"], "width": record["width"]}
            name = Path(record["file_name"]).name
            self._append("images", [{"id": record["image_id"], "file_name": name, **size}])
            for kind in self.kinds:
                self._append(kind, entries_of[kind](record["image_id"], output))

    def _panoptic(self, image: Any, output: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        panoptic, segments = output["panoptic_seg"]
        ids_HW = panoptic.cpu().numpy()
        name = f"{self.names[image]}.png"
        write_segment_ids(self.part / "panoptic" / name, ids_HW)
        pixels = compare_segments(ids_HW, segments).pixels
        segments_info = [
            {
                "id": segment["id"],
                "category_id": self.category_ids[segment["category_id"]],
                "isthing": int(segment["isthing"]),
                "area": pixels.get(segment["id"], 0),
            }
            for segment in segments
        ]
        digest = file_digest(self.part / "panoptic" / name)
        yield {
            "image_id": image,
            "file_name": name,
            "digest": digest,
            "segments_info": segments_info,
        }

    def _instance(self, image: Any, output: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        found = output["instances"].to("cpu")
        for mask, score, label in zip(
            found.pred_masks.numpy().astype(bool),
            found.scores.tolist(),
            found.pred_classes.tolist(),
            strict=True,
        ):
            one = {"image_id": image, "category_id": self.category_ids[label], "score": score}
            yield {**one, "segmentation": encode_mask(mask)[2]}

    def _semantic(self, image: Any, output: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        name = f"{self.names[image]}.png"
        values = np.array([*self.values, self.none])  # the background, -1, is the last one
        labels_HW = values[predicted_labels(output)]
        write_label_map(self.part / "semantic" / name, labels_HW, int(values.max()))
        digest = file_digest(self.part / "semantic" / name)
        yield {"image_id": image, "file_name": name, "digest": digest}

    def _share(self, what: str, rank: int) -> Path:
        return self.part / f".{what}-{rank}.jsonl"

    def _append(self, what: str, entries: Iterable[Mapping[str, Any]]) -> None:
        """Adds entries, one a line, to this process's share."""
        path = self._share(what, comm.get_rank())
        lines = "".join(f"{json.dumps(entry)}\n" for entry in entries)
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(lines)
        except OSError as error:
            raise NotWrittenError(path, error) from error

    def evaluate(self) -> dict[str, Any] | None:
        """{}, on the main process, when the folder is complete.

        Raises: FileNotFoundError if the processes do not see each other's files; NotWrittenError.
        """
        comm.synchronize()
        if not comm.is_main_process():
            return None
        self._check_shares()
        parts = ("images", *self.kinds)
        for what in parts:
            write_atomically(self.part / f"{what}.json", partial(self._write_json, what))
        index = {
            "format": FORMAT,
            **self.about,
            "images": len(self.names),
            "kinds": self.kinds,
            "categories": self.categories,
            "none": self.none,
            "files": {name: file_sha256(self.part / name) for name in map("{}.json".format, parts)},
            "versions": package_versions(),
        }
        write_json(self.part / INDEX, plain(index))
        for path in self.part.glob(".*.jsonl"):
            path.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.part.rename(self.folder)
        return {}

    def _check_shares(self) -> None:
        """Raises FileNotFoundError unless the files of all processes are here."""
        counts = {"images": sum(1 for _ in self._lines("images"))}
        for kind in set(self.kinds) & {"panoptic", "semantic"}:
            counts[f"{kind}/*.png"] = sum(1 for _ in (self.part / kind).glob("*.png"))
        for what, count in counts.items():
            if count != len(self.names):
                raise FileNotFoundError(
                    f"{self.part}: has {count} of {len(self.names)} {what}: the processes of an "
                    "evaluation need a folder in common; choose another OUTPUT_DIR"
                )

    def _lines(self, what: str) -> Iterator[str]:
        """The entries of all processes as JSON."""
        for rank in range(comm.get_world_size()):
            path = self._share(what, rank)
            if path.is_file():
                with path.open(encoding="utf-8") as file:
                    yield from (line.rstrip("\n") for line in file)

    def _write_json(self, what: str, path: Path) -> None:
        lists = {
            "panoptic": {"images": "images", "annotations": what},
            "semantic": {"annotations": what},
        }
        with path.open("w", encoding="utf-8") as file:
            if what not in lists:
                self._write_list(file, what)
                return
            file.write("{")
            for key, entries in lists[what].items():
                file.write(f'"{key}": ')
                self._write_list(file, entries)
                file.write(",\n")
            file.write(f'"categories": {json.dumps(self.categories)}}}\n')

    def _write_list(self, file: TextIO, what: str) -> None:
        separator = "[\n"
        for line in self._lines(what):
            file.write(separator + line)
            separator = ",\n"
        file.write("\n]" if separator != "[\n" else "[]")
