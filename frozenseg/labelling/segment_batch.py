"""A segmenter as one callable, dict of columns -> dict of columns, for engines that run it.

    from frozenseg.labelling.segment_batch import SegmentBatch
    dataset.map_batches(SegmentBatch, fn_constructor_kwargs={...}, concurrency=4, num_gpus=1)

Legend: H and W pixels, B images of one size, K numbers of an embedding.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frozenseg.checkpoints.named_models import DEFAULT_MODEL
from frozenseg.errors import describe
from frozenseg.files import SHORT_DIGEST, file_sha256
from frozenseg.predict.words import read_words

if TYPE_CHECKING:
    import numpy as np
    import pandas
    from numpy.typing import NDArray
    from pyarrow import fs

    from frozenseg.predict.segmentation import Segmentation
    from frozenseg.predict.segmenter import Segmenter
    from frozenseg.vocab import Vocabulary

COLUMNS = (
    *("image_id", "path", "height", "width", "segment_id", "class_name", "class_index", "score"),
    *("area", "box", "rle", "embedding", "error"),
)
MOST_THREADS = 32
_ID_BITS = 63


class Decoded(NamedTuple):
    """An image, or why there is none."""

    image_id: int
    path: str
    image_HW3: NDArray[np.uint8] | None
    error: str | None = None


class SegmentBatch:
    """Loads a model once; each call segments the images of a batch.

    It can be pickled: a copy in another process loads the model there.

    Attributes:
        segmenter: the model.
        vocabulary, task: what is looked for.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        vocabulary: Any = None,
        task: str | None = None,
        *,
        weights: str | Path | None = None,
        device: str = "auto",
        precision: str = "float32",
        opts: Sequence[str] = (),
        background: str | None = None,
        score_threshold: float | None = None,
        batch_size: int = 4,
        threads: int = 4,
        embeddings: bool = False,
        source: str = "",
        filesystem: fs.FileSystem | None = None,
    ) -> None:
        """
        Args:
            model to score_threshold: as `frozenseg.load` and `Segmenter.__call__` take them.
            batch_size: images of one size that go through the model together.
            threads: that read and decode images.
            embeddings: of every segment CLIP's embedding, too.
            source: the address that paths come from, with its options (`inputs.Store`).
            filesystem: of pyarrow, that the paths are of.
        Raises: as `load` and `read_words`; ValueError for embeddings of a model that has none.
        """
        from frozenseg.labelling.inputs import Store
        from frozenseg.loading import load

        words = None if vocabulary is None else read_words(vocabulary)
        arguments = {name: value for name, value in locals().items() if name in _ARGUMENTS}
        self._remade = partial(SegmentBatch, **arguments)
        self.segmenter: Segmenter = load(
            model, weights, device, task, precision=precision, opts=opts
        )
        self.vocabulary: Vocabulary = self.segmenter.vocabulary if words is None else words
        self.task = self.segmenter.task
        self.settings: dict[str, Any] = {
            "background": background,
            "score_threshold": score_threshold,
        }
        self.segmenter._request(self.vocabulary, self.task, background, score_threshold)  # checks
        self.batch_size = batch_size
        self._threads = ThreadPoolExecutor(min(threads, MOST_THREADS))
        self._store = Store(source, filesystem)
        self._embedder = None
        if embeddings:
            from frozenseg.labelling.embeddings import Embedder

            self._embedder = Embedder(self.segmenter)

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return self._remade, ()

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, list[Any]]:
        """The segments of the images, as columns that `schema.SCHEMA` describes.

        Args:
            columns: of each image its `bytes` (a file's), or its pixels `image`, or its `path`;
                `image_id` and `error`, a reason not to read it, may be there, too.
        An image that cannot be read is a row with its error.
        """
        return self.segment(self.read(columns))

    def pandas(self, frames: Iterable[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
        """The same of data frames: what Spark's `mapInPandas` takes."""
        import pandas as pd

        for frame in frames:
            yield pd.DataFrame(self(frame.to_dict("list")))

    def read(self, columns: Mapping[str, Any]) -> list[Decoded]:
        """The pixels of all images, decoded by the threads."""
        count = len(next(iter(columns.values()), ()))
        rows = ({name: values[i] for name, values in columns.items()} for i in range(count))
        return list(self._threads.map(self._decode, rows))

    def _decode(self, row: Mapping[str, Any]) -> Decoded:
        from frozenseg.labelling.inputs import Member, pixels_of
        from frozenseg.predict.images import read_image

        path, data = str(row.get("path") or ""), row.get("bytes")
        image_id, error, image = row.get("image_id"), row.get("error"), row.get("image")
        if image_id is None:
            seen = path.encode() if path or data is None else bytes(data)
            image_id = int.from_bytes(hashlib.sha256(seen).digest()[:8], "big") >> (64 - _ID_BITS)
        if error:
            return Decoded(int(image_id), path, None, str(error))
        try:
            if image is not None:
                return Decoded(int(image_id), path, read_image(image))
            if data is None and not path:
                raise ValueError("the image has neither bytes nor path")
            return Decoded(int(image_id), path, pixels_of(Member(path, data), self._store))
        except (OSError, ValueError, TypeError, MemoryError) as failed:
            return Decoded(int(image_id), path, None, describe(failed))

    def segment(self, images: Sequence[Decoded]) -> dict[str, list[Any]]:
        """The rows of decoded images, in their order; those of one size are computed together."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            if image.image_HW3 is not None:
                by_shape.setdefault(image.image_HW3.shape, []).append(index)
        rows: dict[int, list[tuple[Any, ...]]] = {}
        for group in by_shape.values():
            for start in range(0, len(group), self.batch_size):
                chunk = group[start : start + self.batch_size]
                pixels = [images[index].image_HW3 for index in chunk]
                for index, found, vectors in zip(chunk, *self._together(pixels), strict=True):
                    rows[index] = list(_rows(images[index], found, vectors))
        nothing = (None,) * 10
        for index, image in enumerate(images):
            rows.setdefault(index, [(image.image_id, image.path, *nothing, image.error)])
        flat = [row for index in range(len(images)) for row in rows[index]]
        return {name: [row[i] for row in flat] for i, name in enumerate(COLUMNS)}

    def _together(
        self, images: Sequence[Any]
    ) -> tuple[list[Segmentation], list[list[list[float]] | None]]:
        if self._embedder is not None:
            return self._embedder(images, self._segmentations)
        return self._segmentations(images), [None] * len(images)

    def _segmentations(self, images: Sequence[Any]) -> list[Segmentation]:
        return self.segmenter.batch(images, self.vocabulary, self.task, **self.settings)

    def identity(self) -> dict[str, Any]:
        """What tells results of one kind from others: fields of a `parts.Manifest`."""
        from frozenseg.predict.model_manifest import rows_of

        predictor = self.segmenter.predictor
        return {
            "model": {"name": self.segmenter.name, "digest": model_digest(self.segmenter)},
            "words": self.vocabulary.digest,
            "vocabulary": rows_of(self.vocabulary),
            "task": self.task,
            "settings": {
                "precision": predictor.precision,
                "edges": list(predictor.edges),
                "embeddings": self._embedder is not None,
                **self.settings,
            },
        }


_ARGUMENTS = frozenset(SegmentBatch.__init__.__annotations__) - {"return"}


def _rows(
    image: Decoded, found: Segmentation, vectors: list[list[float]] | None
) -> Iterator[tuple[Any, ...]]:
    """The rows of an image: one a segment, at least one."""
    start = (image.image_id, image.path, *found.label_map_HW.shape)
    if not found.segments:
        yield (*start, *(None,) * 9)
    for index, each in enumerate(found.segments):
        yield (
            *(*start, each.id, each.name, each.class_index, each.score, each.area),
            *(list(each.box), each.rle["counts"].encode("ascii")),
            *(None if vectors is None else vectors[index], None),
        )


def model_digest(segmenter: Segmenter) -> str:
    """16 digits of all tensors of a model and its config; of an exported one, of its files."""
    from frozenseg.config.load import computed_values

    digest = hashlib.sha256()
    model: Any = segmenter.predictor.model
    if segmenter.config is None:
        for path in sorted(Path(segmenter.name).glob("*.*")):
            digest.update(f"{path.name} {file_sha256(path)}\n".encode())
        return digest.hexdigest()[:SHORT_DIGEST]
    digest.update(repr(sorted(computed_values(segmenter.config).items())).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(_bytes()).numpy())
    return digest.hexdigest()[:SHORT_DIGEST]


def _bytes() -> Any:
    import torch

    return torch.uint8
