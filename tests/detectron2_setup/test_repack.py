"""The repacking of detectron2 on a small tree: every rule, and the wheel."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from frozenseg.detectron2_setup import repack, rules
from frozenseg.detectron2_setup.rules import Addition, Edit, Move

SOURCES = {
    "LICENSE": "a licence\n",
    "detectron2/__init__.py": '__version__ = "0.6"\n',
    "detectron2/projects/__init__.py": "",
    "detectron2/data/transforms/transform.py": "interp = Image.LINEAR\n",
    "detectron2/structures/masks.py": (
        "import numpy as np\n"
        "old = [np.bool, np.int, np.float, np.str]\n"
        "kept = [np.bool_, np.int64, np.intp, np.float32, np.str_, snp.bool]\n"
        "self._logger.warn('a')\nlogger.warn('b')\nwarnings.warn('c')\n"
    ),
    "detectron2/model_zoo/configs/Base.yaml": "VERSION: 2\n",
    "detectron2/model_zoo/model_zoo.py": (
        "import os\nimport pkg_resources\n\n\ndef get_config_file(config_path):\n"
        "    cfg_file = pkg_resources.resource_filename(\n"
        '        "detectron2.model_zoo", os.path.join("configs", config_path)\n'
        "    )\n    return cfg_file\n"
    ),
    "detectron2/model_zoo/__init__.py": "",
    "detectron2/evaluation/coco_evaluation.py": (
        "COCOeval = object\nfrom detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
    ),
    "detectron2/layers/__init__.py": "",
    "detectron2/layers/batch_norm.py": (
        "import torch\nfrom fvcore.nn.distributed import differentiable_all_reduce\n"
    ),
    "detectron2/modeling/box_regression.py": (
        "@torch.jit.script\nclass Box2BoxTransform(object):\n    pass\n"
    ),
    "projects/PointRend/point_rend/__init__.py": "import numpy as np\nx = np.float\n",
    "projects/DeepLab/deeplab/__init__.py": "",
    "projects/Panoptic-DeepLab/panoptic_deeplab/__init__.py": "",
}


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A tree with the places, and only these, that the real rules change."""
    root = tmp_path / "sources"
    for name, text in SOURCES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def run_python(code: str, *paths: Path) -> str:
    """Output of a program in a fresh interpreter that sees the paths first."""
    setup = f"import sys; sys.path[:0] = {[str(p) for p in paths]!r}\n"
    return subprocess.check_output([sys.executable, "-c", setup + code], text=True).strip()


def test_every_rule_matches_and_has_a_reason(sources: Path) -> None:
    counts = repack.apply_rules(sources)
    assert set(counts) == set(rules.EDITS)
    assert min(counts.values()) >= 1
    for row in (*rules.MOVES, *rules.ADDITIONS, *rules.EDITS):
        assert len(row.reason) > 20


def test_aliases_are_replaced_and_look_alikes_are_not(sources: Path) -> None:
    repack.apply_rules(sources)
    assert (sources / "detectron2/structures/masks.py").read_text() == (
        "import numpy as np\n"
        "old = [bool, int, float, str]\n"
        "kept = [np.bool_, np.int64, np.intp, np.float32, np.str_, snp.bool]\n"
        "self._logger.warning('a')\nlogger.warning('b')\nwarnings.warn('c')\n"
    )
    text = (sources / "detectron2/data/transforms/transform.py").read_text()
    assert text == "interp = Image.BILINEAR\n"


def test_nothing_is_scripted_aloud_at_import(sources: Path) -> None:
    repack.apply_rules(sources)
    changed = (sources / "detectron2/modeling/box_regression.py").read_text()
    assert changed.startswith("class Box2BoxTransform")
    scripted = sources / "fvcore/nn/distributed.py"
    scripted.parent.mkdir(parents=True)
    warning = "`torch.jit.script` is deprecated"
    scripted.write_text(
        f"import warnings\nwarnings.warn({warning!r}, FutureWarning)\n"
        "differentiable_all_reduce = 1\n"
    )
    for name in ("torch.py", "fvcore/__init__.py", "fvcore/nn/__init__.py"):
        (sources / name).touch()
    code = "import warnings\nwarnings.simplefilter('error')\nimport detectron2.layers.batch_norm"
    run_python(code, sources)


def test_projects_move_into_the_package_before_the_edits(sources: Path) -> None:
    repack.apply_rules(sources)
    moved = sources / "detectron2/projects/point_rend/__init__.py"
    assert moved.read_text().endswith("x = float\n")
    assert not (sources / "projects/PointRend/point_rend").exists()


@pytest.mark.parametrize("row", rules.EDITS, ids=lambda row: row.pattern[:30])
def test_an_edit_without_a_match_stops_and_is_named(sources: Path, row: Edit) -> None:
    only_once = Edit(row.files, r"text that is nowhere", "", "test of a missing match")
    edits = [only_once if edit is row else edit for edit in rules.EDITS]
    with pytest.raises(ValueError, match="text that is nowhere") as caught:
        repack.apply_rules(sources, edits=edits)
    assert str(caught.value).startswith("1 rule(s)")


def test_all_rows_without_effect_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2/present.py").write_text("")
    with pytest.raises(ValueError, match="3 rule") as caught:
        repack.apply_rules(
            tmp_path,
            [Move("projects/gone", "detectron2/projects/gone", "moved")],
            [Addition("detectron2/present.py", "text", "added")],
            [Edit("detectron2/*.py", "absent", "", "edited")],
        )
    for name in ("projects/gone", "detectron2/present.py", "absent"):
        assert name in str(caught.value)


def test_rules_refuse_sources_that_they_changed_already(sources: Path) -> None:
    repack.apply_rules(sources)
    with pytest.raises(ValueError, match="did not match"):
        repack.apply_rules(sources)


@pytest.fixture
def wheel(sources: Path, tmp_path: Path) -> Path:
    """The wheel of the small tree."""
    repack.apply_rules(sources)
    return repack.write_wheel(sources, tmp_path / "wheels" / repack.wheel_name())


def test_wheel_is_complete_and_its_record_true(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    info = "detectron2-0.6.dist-info"
    record = dict(line.split(",", 1) for line in contents[f"{info}/RECORD"].decode().splitlines())
    assert set(record) == set(contents)
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        assert name.endswith("/RECORD") or record[name] == f"sha256={digest},{len(data)}"
    metadata = contents[f"{info}/METADATA"].decode()
    assert metadata.startswith("Metadata-Version: 2.1\nName: detectron2\nVersion: 0.6\n")
    assert "Requires-Dist: fvcore>=0.1.5,<0.1.6\n" in metadata
    assert contents[f"{info}/LICENSE"] == b"a licence\n"
    assert "detectron2/model_zoo/configs/Base.yaml" in contents
    assert not any(name.startswith("projects/") for name in contents)


def test_wheel_does_not_depend_on_time_or_folder(
    wheel: Path, sources: Path, tmp_path: Path
) -> None:
    moved = sources.rename(tmp_path / "elsewhere")
    again = repack.write_wheel(moved, tmp_path / "again.whl")
    assert again.read_bytes() == wheel.read_bytes()
    assert [path.name for path in wheel.parent.iterdir()] == [wheel.name]  # nothing partial left


def test_wheel_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no package detectron2"):
        repack.write_wheel(tmp_path, tmp_path / "x.whl")


def test_missing_ops_import_but_raise_on_use(wheel: Path) -> None:
    code = """
from detectron2 import _C
import detectron2._C, inspect
inspect.getmembers(_C)
print(_C.has_cuda(), hasattr(_C, "nms_rotated"), _C.get_compiler_version())
try:
    _C.roi_align_rotated_forward(1, 2)
except NotImplementedError as error:
    print(error)
try:
    from detectron2._C import nms_rotated
except ImportError:
    print("no such name")
"""
    lines = run_python(code, wheel).splitlines()
    assert lines[0] == "False False none (pure-Python wheel)"
    assert lines[1].startswith("detectron2._C.roi_align_rotated_forward is a compiled op")
    assert lines[2] == "no such name"


def test_model_zoo_finds_its_configs_without_pkg_resources(sources: Path) -> None:
    repack.apply_rules(sources)
    code = "from detectron2.model_zoo.model_zoo import get_config_file as f; print(f('Base.yaml'))"
    assert Path(run_python(code, sources)).read_text() == "VERSION: 2\n"


def test_only_a_wheel_of_other_rules_is_outdated(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("detectron2-0.6.dist-info/WHEEL").decode()
    assert not repack.is_outdated(text)
    assert repack.is_outdated(text.replace(repack.build_tag(), "1older"))
    assert not repack.is_outdated("Wheel-Version: 1.0\nGenerator: setuptools\n")
    assert not repack.is_outdated("")
