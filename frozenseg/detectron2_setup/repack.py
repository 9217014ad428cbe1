"""From the sources of detectron2 v0.6 to a pure-Python wheel that runs on current libraries."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from frozenseg.detectron2_setup.rules import ADDITIONS, EDITS, MOVES, Addition, Edit, Move

VERSION = "0.6"
DIST_INFO = f"detectron2-{VERSION}.dist-info"
GENERATOR = "frozenseg tools/install_detectron2.py"
PACKAGED_SUFFIXES = (".py", ".yaml")
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # fixed, so that equal sources give an equal wheel

# What v0.6 declares, less `future`, `pydot` (caffe2 export only), `black` (optional at run time)
# and the upper bound of iopath, which excludes the version that fvcore's users have today. Lower
# bounds are what `make test-lowest` tries.
REQUIREMENTS = (
    "Pillow>=10.4",
    "matplotlib>=3.7",
    "pycocotools>=2.0.7",
    "termcolor>=2.3",
    "yacs>=0.1.8",
    "tabulate>=0.10",
    "cloudpickle>=3.0",
    "tqdm>=4.66",
    "tensorboard>=2.14",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.9",
    "omegaconf>=2.3",
    "hydra-core>=1.3",
)


def apply_rules(
    root: Path,
    moves: Sequence[Move] = MOVES,
    additions: Sequence[Addition] = ADDITIONS,
    edits: Sequence[Edit] = EDITS,
) -> dict[Edit, int]:
    """Applies the tables of `rules.py` to the sources below `root`, in place.

    Returns: the number of replacements of every edit.
    Raises: ValueError that names every row that found nothing to do.
    """
    unused = [f"move {row.source} ({row.reason})" for row in moves if not _move(root, row)]
    unused += [f"add {row.target} ({row.reason})" for row in additions if not _add(root, row)]
    counts = {row: _edit(root, row) for row in edits}
    unused += [f"replace {r.pattern} in {r.files} ({r.reason})" for r in edits if not counts[r]]
    if unused:
        raise ValueError(
            f"{len(unused)} rule(s) of frozenseg/detectron2_setup/rules.py did not match these "
            f"sources of detectron2: {'; '.join(unused)}. Use the sources of v0.6, or "
            "correct the table"
        )
    return counts


def _move(root: Path, row: Move) -> bool:
    source, target = root / row.source, root / row.target
    if not source.is_dir() or target.exists():
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, target)
    return True


def _add(root: Path, row: Addition) -> bool:
    target = root / row.target
    if target.exists() or not target.parent.is_dir():
        return False
    target.write_text(row.text, encoding="utf-8")
    return True


def _edit(root: Path, row: Edit) -> int:
    total = 0
    for path in sorted(root.glob(row.files)):
        text = path.read_text(encoding="utf-8")
        text, count = re.subn(row.pattern, row.replacement, text, flags=re.MULTILINE)
        if count:
            path.write_text(text, encoding="utf-8")
            total += count
    return total


def build_tag() -> str:
    """Wheel build tag that changes whenever the rules or this file change."""
    here = Path(__file__).parent
    sources = b"".join((here / name).read_bytes() for name in ("rules.py", "repack.py"))
    return "1" + hashlib.sha256(sources).hexdigest()[:8]


def wheel_name() -> str:
    """File name of the wheel that the present rules give."""
    return f"detectron2-{VERSION}-{build_tag()}-py3-none-any.whl"


def is_outdated(wheel_text: str) -> bool:
    """True for the WHEEL file of an installed wheel that other rules than the present ones made."""
    return GENERATOR in wheel_text and f"Build: {build_tag()}" not in wheel_text


def write_wheel(root: Path, wheel: Path) -> Path:
    """Packs `root/detectron2` into the file `wheel`, atomically; returns its path.

    Raises: ValueError when `root` has no package `detectron2`.
    """
    if not (root / "detectron2" / "__init__.py").is_file():
        raise ValueError(f"{root} has no package detectron2; expected the sources of v{VERSION}")
    contents = dict(_package_files(root))
    contents[f"{DIST_INFO}/METADATA"] = _metadata().encode()
    contents[f"{DIST_INFO}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: {GENERATOR}\n"
        f"Root-Is-Purelib: true\nTag: py3-none-any\nBuild: {build_tag()}\n"
    ).encode()
    contents[f"{DIST_INFO}/top_level.txt"] = b"detectron2\n"
    if (root / "LICENSE").is_file():
        contents[f"{DIST_INFO}/LICENSE"] = (root / "LICENSE").read_bytes()
    contents[f"{DIST_INFO}/RECORD"] = _record(contents).encode()

    wheel.parent.mkdir(parents=True, exist_ok=True)
    partial = wheel.with_name(f"{wheel.name}.{os.getpid()}.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            info = zipfile.ZipInfo(name, ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    partial.replace(wheel)
    return wheel


def _package_files(root: Path) -> Iterable[tuple[str, bytes]]:
    for path in sorted((root / "detectron2").rglob("*")):
        if path.is_file() and path.suffix in PACKAGED_SUFFIXES:
            yield path.relative_to(root).as_posix(), path.read_bytes()


def _metadata() -> str:
    lines = ["Metadata-Version: 2.1", "Name: detectron2", f"Version: {VERSION}"]
    lines += ["Summary: detectron2 v0.6 without compiled ops, adapted to current libraries"]
    lines += ["Home-page: https://github.com/facebookresearch/detectron2", "Author: FAIR"]
    lines += ["License: Apache-2.0", "Requires-Python: >=3.7"]
    lines += [f"Requires-Dist: {requirement}" for requirement in REQUIREMENTS]
    lines += ["", "Changed by tools/install_detectron2.py against the sources of v0.6:", ""]
    lines += [f"- moved {row.source} to {row.target}: {row.reason}" for row in MOVES]
    lines += [f"- added {row.target}: {row.reason}" for row in ADDITIONS]
    lines += [f"- `{row.pattern}` -> `{row.replacement}`: {row.reason}" for row in EDITS]
    return "\n".join(lines) + "\n"


def _record(contents: dict[str, bytes]) -> str:
    rows = []
    for name, data in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}")
    return "\n".join([*rows, f"{DIST_INFO}/RECORD,,"]) + "\n"
