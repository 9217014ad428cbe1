"""The same exactness as the golden tests, inside the repository (no ../shared needed)."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tools.record_reference import FOLDER, VARIANTS, build_reference_model, reference_values

LABEL_MAPS = ("panoptic", "semantic")


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_equal_the_recorded_ones(variant, tmp_path):
    expected = load_file(FOLDER / f"{variant}.safetensors")
    values = reference_values(build_reference_model(variant, tmp_path))
    assert values.keys() == expected.keys()
    for name, value in values.items():
        if name.startswith(LABEL_MAPS):
            assert (value == expected[name]).float().mean() >= 0.999, name
        elif name in ("losses", "gradient_norms"):
            rtol = 1e-3 if name == "losses" else 1e-2
            torch.testing.assert_close(value, expected[name], rtol=rtol, atol=1e-4)
        else:
            torch.testing.assert_close(value, expected[name], atol=1e-3, rtol=0)


def test_recorded_files_are_small():
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 1_000_000


def test_nothing_is_recorded_unless_the_golden_tests_passed(monkeypatch, tmp_path):
    import tools.record_reference as recorder

    monkeypatch.setattr(recorder, "golden_tests_pass", lambda: False)
    monkeypatch.setattr(recorder, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="nothing was written"):
        recorder.main(None)
    assert not list(tmp_path.iterdir())
