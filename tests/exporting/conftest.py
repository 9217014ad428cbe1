from __future__ import annotations

from tests.encoders.conftest import clip_config, make_clip
from tests.fusioner.conftest import build, encoder_files

__all__ = ["build", "clip_config", "encoder_files", "make_clip"]
