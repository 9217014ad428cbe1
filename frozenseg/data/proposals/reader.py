"""Proposals of a folder of images (SAM's masks) as files: the format, and its reader.

    index.json             where the masks of each image are, and what made them
    shard_00000.jsonl.gz   one gzip member for each image, in the order of their names: together a
                           gzip file of JSON lines, and each can be read without the others

A line is {"image": key, "sha256": of the image file, "height", "width", "masks": [{"segmentation":
COCO's compressed RLE, "area", "predicted_iou", "stability_score"}, ...]}, or {"image": key,
"error": why there are none}. A key is the image's path below the folder of images, with "/".
Legend: M masks, H and W pixels.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import torch
from pycocotools import mask as coco_mask
from torch import Tensor

from frozenseg.data.object_masks import rle_problem
from frozenseg.data.schemas import Place, ProposalIndex, ProposalRecord
from frozenseg.files import decode_typed, file_digest, read_typed

FORMAT, VERSION = "frozenseg proposals", 1
INDEX_NAME = "index.json"
MAKE = "python tools/export_sam_masks.py"
_BLOCK = 1 << 16  # bytes decompressed at a time
_GZIP = 31  # zlib's number for a gzip header and checksum


@dataclass(frozen=True)
class Index:
    """What `index.json` says.

    Attributes:
        source: what made the masks: model, weights, settings.
        shard_size: images per shard; image number i of the sorted keys is in shard i // shard_size.
        images: key -> place; None where there are no masks (yet).
        failures: key -> why the image has none.
        complete: False while an export is under way or interrupted.
    """

    source: Mapping[str, Any]
    shard_size: int
    images: Mapping[str, Place | None]
    failures: Mapping[str, str] = field(default_factory=dict)
    complete: bool = False

    def to_json(self) -> str:
        """The file's text; equal contents give equal bytes."""
        content = {
            "format": FORMAT,
            "version": VERSION,
            "complete": self.complete,
            "source": dict(self.source),
            "shard_size": self.shard_size,
            "failures": dict(self.failures),
            "columns": list(Place._fields),
        }
        head = json.dumps(content, indent=1)
        rows = [f"  {json.dumps(key)}: {json.dumps(place)}" for key, place in self.images.items()]
        return head.removesuffix("\n}") + ',\n "images": {\n' + ",\n".join(rows) + "\n }\n}\n"


def read_index(folder: Path) -> Index:
    """Raises: FileNotFoundError without an index; ValueError for one that is not of this format."""
    path = folder / INDEX_NAME
    again = f"delete the folder and make it again with {MAKE}"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; make it with {MAKE} --output {folder}")
    try:
        content = read_typed(path, ProposalIndex)
        if (content.format, content.version) != (FORMAT, VERSION):
            raise ValueError(f"format {content.format!r}, version {content.version}")
    except ValueError as error:
        problem = str(error).removeprefix(f"{path}: ")
        raise ValueError(
            f"{path} is not an index of {FORMAT}, version {VERSION} ({problem}): {again}"
        ) from error
    return Index(
        source=content.source,
        shard_size=content.shard_size,
        images=content.images,
        failures=content.failures,
        complete=content.complete,
    )


def parse_record(line: bytes, path: Path) -> ProposalRecord:
    """A line of the file `path`. Raises: ValueError with the remedy for one of another form."""
    record: ProposalRecord = decode_typed(line, ProposalRecord, str(path), _REPAIR)
    lacking = {"sha256", "height", "width", "masks"} - set(record)
    if lacking and "error" not in record:
        raise ValueError(f"{path}: a record lacks {sorted(lacking)[0]}: {_REPAIR}")
    return record


def shard_path(folder: Path, shard: int) -> Path:
    """The file of shard number `shard`."""
    return folder / f"shard_{shard:05d}.jsonl.gz"


def read_members(path: Path) -> Iterator[tuple[int, bytes]]:
    """(bytes it takes up, content) of every gzip member of a shard, in order.

    Raises: ValueError for a damaged file, with the remedy.
    """
    content = memoryview(path.read_bytes())
    start = 0
    while start < len(content):
        member, parts, position = zlib.decompressobj(_GZIP), [], start
        try:
            while not member.eof and position < len(content):
                block = content[position : position + _BLOCK]
                parts.append(member.decompress(block))
                position += len(block)
        except zlib.error as error:
            raise ValueError(f"{path} is damaged ({error}): {_REPAIR}") from error
        if not member.eof:
            raise ValueError(f"{path} is damaged (its end is missing): {_REPAIR}")
        end = position - len(member.unused_data)
        yield end - start, b"".join(parts)
        start = end


_REPAIR = "delete the file and run the export again"
_AGAIN = f"export the masks of these images with {MAKE}"


class ProposalFolder:
    """Reads the masks that an export wrote; keeps only the index in memory.

    Raises: FileNotFoundError, ValueError where there is no complete export of this format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.index = read_index(self.folder)
        if not self.index.complete:
            raise ValueError(
                f"{self.folder / INDEX_NAME}: the export was interrupted: run its command "
                f"({MAKE} ...) again, which continues it"
            )
        self._keys_of_name: dict[str, list[str]] = {}
        for key in self.index.images:
            self._keys_of_name.setdefault(key.rpartition("/")[2], []).append(key)

    def masks(self, image: str | Path, size: tuple[int, int] | None = None) -> Tensor:
        """The masks of an image as bool (M, H, W), largest first; M may be 0.

        Args:
            image: key or path, see `find`; `size`: the image's (height, width), checked if given.
        Raises: ValueError if the image has no masks here, or is another one than at the export.
        """
        record = self.record(image)
        found = (record["height"], record["width"])
        if size is not None and found != tuple(size):
            raise ValueError(
                f"{image} is {size[1]}x{size[0]}, but its masks in {self.folder} are "
                f"{found[1]}x{found[0]} (width x height): they are of another image; {_AGAIN}"
            )
        rles = [mask["segmentation"] for mask in record["masks"]]
        for number, rle in enumerate(rles):
            if problem := rle_problem(rle, found):
                raise ValueError(f"{self.folder}: mask {number} of {image}: {problem}: {_REPAIR}")
        if not rles:
            return torch.zeros((0, *found), dtype=torch.bool)
        return torch.from_numpy(coco_mask.decode(rles)).permute(2, 0, 1).bool().contiguous()

    def record(self, image: str | Path) -> ProposalRecord:
        """The line of an image (see the top of this file). Raises: as `masks`."""
        key = self.find(image)
        place = self.index.images[key]
        if place is None:
            reason = self.index.failures.get(key, "not exported")
            raise ValueError(f"{self.folder} has no masks of {key}: {reason}; {_AGAIN}")
        record = self._read(key, place)
        if Path(image).is_file() and file_digest(Path(image)) != record["sha256"]:
            raise ValueError(
                f"{image} is not the image that {self.folder} has masks of as {key!r}: its bytes "
                f"differ; {_AGAIN}"
            )
        return record

    def find(self, image: str | Path) -> str:
        """The key of an image: the longest end of its path that is one, or the only key with it.

        "/data/coco/val2017/1.jpg" finds "val2017/1.jpg" or "1.jpg"; "1.jpg" finds "val2017/1.jpg".
        Raises: ValueError if there is none, or several.
        """
        parts = PurePath(image).parts
        for start in range(len(parts)):
            key = "/".join(parts[start:])
            if key in self.index.images:
                return key
        ending = "/" + "/".join(parts)
        keys = [k for k in self._keys_of_name.get(PurePath(image).name, ()) if k.endswith(ending)]
        if len(keys) == 1:
            return keys[0]
        if keys:
            raise ValueError(
                f"{image} could be {len(keys)} images of {self.folder}, among them {keys[0]} and "
                f"{keys[1]}: give more of its path"
            )
        raise ValueError(
            f"{self.folder} has no masks of {image}: it is not one of its "
            f"{len(self.index.images)} images; {_AGAIN}"
        )

    def _read(self, key: str, place: Place) -> ProposalRecord:
        path = shard_path(self.folder, place.shard)
        try:
            with path.open("rb") as file:
                file.seek(place.offset)
                length = min(place.length, path.stat().st_size)
                line = zlib.decompress(file.read(length), _GZIP)
        except FileNotFoundError:
            raise FileNotFoundError(f"{path} does not exist: run the export again") from None
        except (zlib.error, OverflowError) as error:
            raise ValueError(f"{path} is damaged ({error}): {_REPAIR}") from error
        record = parse_record(line, path)
        if record["image"] != key or "masks" not in record:
            raise ValueError(f"{path} does not fit {INDEX_NAME} beside it: run the export again")
        return record
