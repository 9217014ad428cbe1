"""Datasets on disk, shared with the tests of `data`."""

from tests.data.conftest import shapes_root

__all__ = ["shapes_root"]
