"""The columns of a part: a row per segment; an image without segments has one row, too.

Of such a row, and of an image that could not be read, all columns from `segment_id` to `embedding`
are null; the latter has an `error`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.int64(), nullable=False),
        pa.field("path", pa.string(), nullable=False),  # of a member: TAR#NAME, of a row: FILE#ROW
        ("height", pa.int32()),  # pixels; null with an error
        ("width", pa.int32()),
        ("segment_id", pa.int32()),  # from 1, as in a `Segmentation`
        ("class_name", pa.string()),
        ("class_index", pa.int32()),  # into the manifest's vocabulary
        ("score", pa.float32()),  # null where the task gives none
        ("area", pa.int64()),  # pixels of the mask
        ("box", pa.list_(pa.int32())),  # x, y, width, height in pixels
        ("rle", pa.binary()),  # COCO's compressed counts; their size is [height, width]
        ("embedding", pa.list_(pa.float32())),  # CLIP's, pooled over the mask, a unit vector
        ("error", pa.string()),
    ]
)


def table_of(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """The columns of `SegmentBatch` with the types of a part."""
    arrays = [pa.array(list(columns[field.name]), field.type) for field in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)
