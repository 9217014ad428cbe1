"""The stand-in for a model, and a server on this machine for the tests of downloads."""

from tests.checkpoints.file_server import content, server
from tests.stand_in import shapes_root, stand_in_cfg

__all__ = ["content", "server", "shapes_root", "stand_in_cfg"]
