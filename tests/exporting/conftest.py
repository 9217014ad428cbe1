from __future__ import annotations

from pathlib import Path

import pytest

import frozenseg
from frozenseg.exporting.export import export
from tests.encoders.conftest import clip_config, make_clip
from tests.fusioner.conftest import build, encoder_files

__all__ = ["build", "clip_config", "encoder_files", "make_clip"]


@pytest.fixture(scope="session")
def exported_fcclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the exported miniature FC-CLIP."""
    folder = tmp_path_factory.mktemp("exported")
    export(frozenseg.load("miniature-fcclip", device="cpu"), folder)
    return folder
