"""What is changed in the sources of detectron2 v0.6: a table row per change, with its reason.

Three kinds of rows, applied in this order to the unpacked source distribution: folders to move,
files to add, text to replace. A row that finds nothing to do is an error (`repack.apply_rules`):
it means that the sources are not the ones that the table was written for.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL_SOURCES = "detectron2/**/*.py"


@dataclass(frozen=True)
class Move:
    """Moves the folder `source` to `target`; both are relative to the root of the sources."""

    source: str
    target: str
    reason: str


@dataclass(frozen=True)
class Addition:
    """Adds the file `target` with the given text; the file must not exist yet."""

    target: str
    text: str
    reason: str


@dataclass(frozen=True)
class Edit:
    """Replaces a regular expression in all files that match the glob `files`."""

    files: str
    pattern: str
    replacement: str
    reason: str


COMPILED_OPS_STUB = '''"""Stands for the compiled extension of detectron2, which this wheel lacks.

Importing it works, since detectron2.layers does so; using one of its ops raises `MissingOp`.
"""

PURE_PYTHON = True


class MissingOp(AttributeError, NotImplementedError):
    """A compiled op was used. An AttributeError too, so that `hasattr` answers False."""


def get_compiler_version():
    return "none (pure-Python wheel)"


def get_cuda_version():
    return "none (pure-Python wheel)"


def has_cuda():
    return False


def __getattr__(name):
    if name.startswith("__"):  # the import system looks for __path__ and the like
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    raise MissingOp(
        f"detectron2._C.{name} is a compiled op and this detectron2 is the pure-Python wheel of "
        "tools/install_detectron2.py; rotated boxes and deformable convolutions on CUDA need a "
        "detectron2 built from source (see INSTALL.md)"
    )
'''

MOVES = (
    Move(
        "projects/PointRend/point_rend",
        "detectron2/projects/point_rend",
        "v0.6 places its projects in the package by setup(package_dir=...) at build time",
    ),
    Move(
        "projects/DeepLab/deeplab",
        "detectron2/projects/deeplab",
        "v0.6 places its projects in the package by setup(package_dir=...) at build time",
    ),
    Move(
        "projects/Panoptic-DeepLab/panoptic_deeplab",
        "detectron2/projects/panoptic_deeplab",
        "v0.6 places its projects in the package by setup(package_dir=...) at build time",
    ),
)

ADDITIONS = (
    Addition(
        "detectron2/_C.py",
        COMPILED_OPS_STUB,
        "three layers import the compiled extension at import time, though few models use it",
    ),
)

EDITS = (
    Edit(
        "detectron2/data/transforms/transform.py",
        r"\bImage\.LINEAR\b",
        "Image.BILINEAR",
        "Pillow 10 removed Image.LINEAR, the old name of Image.BILINEAR",
    ),
    Edit(ALL_SOURCES, r"\bnp\.bool\b", "bool", "NumPy 1.24 removed this alias of the builtin"),
    Edit(ALL_SOURCES, r"\bnp\.int\b", "int", "NumPy 1.24 removed this alias of the builtin"),
    Edit(ALL_SOURCES, r"\bnp\.float\b", "float", "NumPy 1.24 removed this alias of the builtin"),
    Edit(ALL_SOURCES, r"\bnp\.str\b", "str", "NumPy 1.24 removed this alias of the builtin"),
    Edit(
        ALL_SOURCES,
        r"\b(_?logger)\.warn\(",
        r"\1.warning(",
        "Logger.warn is deprecated and warns on every use",
    ),
    Edit(
        "detectron2/layers/batch_norm.py",
        r"^(from fvcore\.nn\.distributed import .*)$",
        "import warnings\n\nwith warnings.catch_warnings():\n"
        '    warnings.filterwarnings("ignore", ".*torch.jit.script", FutureWarning)\n'
        r"    \1",
        "fvcore.nn scripts two losses when it is imported, which torch 2.14 warns of every time",
    ),
    Edit(
        "detectron2/modeling/box_regression.py",
        r"^@torch\.jit\.script\n",
        "",
        "two classes, which are the same without it, and torch 2.14 warns of it at every import",
    ),
    Edit(
        "detectron2/model_zoo/model_zoo.py",
        r"^import pkg_resources$",
        "from importlib.resources import files",
        "setuptools 82 removed pkg_resources",
    ),
    Edit(
        "detectron2/model_zoo/model_zoo.py",
        r"pkg_resources\.resource_filename\(\s*"
        r'"detectron2\.model_zoo", os\.path\.join\("configs", config_path\)\s*\)',
        'str(files("detectron2.model_zoo") / "configs" / config_path)',
        "setuptools 82 removed pkg_resources",
    ),
    Edit(
        "detectron2/evaluation/coco_evaluation.py",
        r"^from detectron2\.evaluation\.fast_eval_api import COCOeval_opt$",
        "COCOeval_opt = COCOeval  # fast_eval_api needs the compiled extension",
        "COCOEvaluator takes the compiled evaluator by default; pycocotools gives the same figures",
    ),
)
