"""What the config may not ask for."""

from __future__ import annotations

import pytest

from frozenseg.config import get_config
from frozenseg.fusioner.from_config import build_method, check_sides, feature_cache


@pytest.mark.parametrize("key", ["MODEL.FUSIONER.CROP", "INPUT.IMAGE_SIZE"])
def test_windows_and_training_squares_are_made_of_whole_patches(key):
    cfg = get_config()
    cfg.merge_from_list(["MODEL.FUSIONER.CROP", 224, "INPUT.IMAGE_SIZE", 224])
    check_sides(cfg, 16)
    cfg.merge_from_list([key, 300])
    with pytest.raises(ValueError, match=rf"{key} is 300: .* multiple of 16, .* such as 304"):
        check_sides(cfg, 16)


def test_methods_that_do_not_exist_are_refused(build):
    model = build()
    settings = get_config().MODEL.FUSIONER
    settings.METHOD = "middle"
    with pytest.raises(ValueError, match="METHOD is 'middle': use one of early, late, spnet"):
        build_method(settings, model.visual, model.language)


def test_features_of_random_crops_are_not_kept(build, tmp_path):
    visual = build().visual
    assert feature_cache(visual, "", augment=True) is None
    assert feature_cache(visual, str(tmp_path), augment=False).encoder is visual
    with pytest.raises(ValueError, match=r"INPUT\.EPISODES\.AUGMENT False"):
        feature_cache(visual, str(tmp_path), augment=True)
