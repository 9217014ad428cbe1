"""A few synthetic pictures on disk, registered as datasets."""

from __future__ import annotations

from pathlib import Path

import pytest

from frozenseg.data.catalog.register import register_splits
from tests.shapes_world import register_shapes, write_shapes


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory) -> Path:
    """A root with the shapes dataset: 6 training and 4 validation images of 48 x 64."""
    root = tmp_path_factory.mktemp("datasets")
    write_shapes(root / "shapes", train=6, val=4, size=(48, 64), seed=3)
    return root


@pytest.fixture
def registered(shapes_root: Path) -> Path:
    """`shapes_root`, with the catalogs pointing to it."""
    register_splits(root=shapes_root)
    register_shapes(shapes_root)
    return shapes_root
