"""Writes the lock files: exact versions, for every Python at once, with the hashes of their files.

requirements.lock is what `make` installs, requirements-lowest.lock what `make test-lowest` does:
the lowest versions that pyproject.toml admits. uv resolves; versions of the
present files are kept where they still fit, except with `--upgrade`. For maintainers:

    pip install uv
    python tools/lock_requirements.py
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from frozenseg.cli import program as cli
from frozenseg.detectron2_setup.repack import REQUIREMENTS as DETECTRON2_REQUIREMENTS
from frozenseg.files import write_atomically

LOCK, LOWEST = ROOT / "requirements.lock", ROOT / "requirements-lowest.lock"
LOWEST_EXTRAS = ("full", "dev", "fusioner", "demo", "heif")
# setuptools builds the packages that have no wheel, and this one. panopticapi-lite is for every
# Python, although its metadata exclude some.
ALSO = (*DETECTRON2_REQUIREMENTS, "setuptools>=77", "panopticapi-lite==0.2.0")
HASHED = ("--generate-hashes", "--no-annotate", "--no-header", "--quiet")
HEADER = """\
# Exact versions{what}, with the SHA-256 of their files, for
# `pip install --no-deps --require-hashes`. Written by tools/lock_requirements.py.
"""


def main(args: argparse.Namespace) -> None:
    """Writes both files."""
    upgrade = ["--upgrade"] if args.upgrade else []
    lock(LOCK, "", ["--universal", "--python-version=3.10", "--all-extras", *upgrade])
    lowest = ["--python-version=3.11", "--resolution=lowest-direct", *upgrade]
    extras = [f"--extra={name}" for name in LOWEST_EXTRAS]
    lock(LOWEST, ", the lowest that are admitted, for Python 3.11", [*lowest, *extras])


def lock(path: Path, what: str, options: list[str]) -> None:
    """Resolves into `path`. Raises: ValueError when uv is missing or finds no solution."""

    def write(part: Path) -> None:
        if path.is_file():
            part.write_text(path.read_text())  # uv prefers the versions that are there
        command = ["uv", "pip", "compile", "pyproject.toml", "-", *HASHED, *options]
        command += ["--output-file", str(part)]
        result = subprocess.run(command, cwd=ROOT, input="\n".join(ALSO), text=True, check=False)
        if result.returncode:
            raise ValueError("uv found no solution; its message is above")
        part.write_text(HEADER.format(what=what) + part.read_text())

    try:
        write_atomically(path, write)
    except FileNotFoundError as error:
        raise ValueError("uv is not on the PATH; pip install uv") from error
    print(f"wrote {path}")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--upgrade", action="store_true", help="take the newest versions, not those of the lock"
    )
    cli.add_debug_flag(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
