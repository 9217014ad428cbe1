"""Building a model by its name."""

from __future__ import annotations

import pytest

from frozenseg.config import get_config
from frozenseg.engine.build import build_model


def test_an_unknown_architecture_is_named_with_the_known_ones():
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = "FCCLP"
    with pytest.raises(ValueError, match=r"META_ARCHITECTURE 'FCCLP' .* FCCLIP"):
        build_model(cfg)
