"""Writes requirements.lock: the exact versions that `make` installs, for several Pythons at once.

Each interpreter given resolves the ranges of requirements.txt, the extras and the needs of
detectron2 with pip (a dry run: nothing is installed); the answers are merged into one file with
environment markers. Versions of the present lock are kept where they still fit, except with
`--upgrade`. For maintainers, on Linux:

    python tools/lock_requirements.py python3.10 python3.11 python3.12 python3.13
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from frozenseg.cli import program as cli
from frozenseg.detectron2_setup.repack import REQUIREMENTS as DETECTRON2_REQUIREMENTS

LOCK = ROOT / "requirements.lock"
EXTRA_REQUIREMENTS = ("setuptools >= 77",)  # builds the packages that have no wheel, and this one

# Installed for every Python, although its metadata exclude some (requirements.txt has the reason).
DESPITE_METADATA = ("panopticapi-lite",)

LINUX_ONLY = re.compile(r"^(nvidia|cuda)-|^triton$")  # torch asks for these on Linux alone

HEADER = """\
# Exact versions of everything that `make` installs into .venv, with `pip install --no-deps`.
# Written by tools/lock_requirements.py for Python {versions} on Linux; see its --help.
# detectron2 follows by tools/install_detectron2.py.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("interpreters", nargs="+", help="Python executables, one per version")
    parser.add_argument(
        "--upgrade", action="store_true", help="take the newest versions, not those of the lock"
    )
    parser.add_argument("--output", type=Path, default=LOCK, help="(default: %(default)s)")
    cli.add_debug_flag(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    """Resolves for every interpreter, merges, writes."""
    resolved = {}
    for interpreter in args.interpreters:
        version = python_version(interpreter)
        print(f"resolving for Python {version}", flush=True)
        resolved[version] = resolve(interpreter, None if args.upgrade else LOCK)
    lines = merge(resolved)
    header = HEADER.format(versions=", ".join(sort_versions(resolved)))
    args.output.write_text(header + "\n".join(sorted(lines, key=str.lower)) + "\n")
    print(f"wrote {len(lines)} versions to {args.output}")


def python_version(interpreter: str) -> str:
    """`3.11` for the executable of a Python 3.11. Raises: ValueError when it does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.check_output([interpreter, "-c", code], text=True).strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise ValueError(f"{interpreter} is not a Python that runs: {error}") from error


def resolve(interpreter: str, constraints: Path | None) -> dict[str, str]:
    """The versions, by package name, that pip would install. Raises: ValueError when pip fails."""
    command = [interpreter, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--disable-pip-version-check", "--quiet", "-r", str(ROOT / "requirements.txt")]
    if constraints and constraints.is_file():
        command += ["-c", str(constraints)]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        wanted = [*extra_requirements(), *DETECTRON2_REQUIREMENTS, *EXTRA_REQUIREMENTS]
        result = subprocess.run([*command, "--report", str(report), *wanted])
        if result.returncode:
            raise ValueError(f"pip of {interpreter} found no solution; its message is above")
        installs = json.loads(report.read_text())["install"]
    return {item["metadata"]["name"]: item["metadata"]["version"] for item in installs}


def extra_requirements() -> list[str]:
    """The extras of pyproject.toml (read by its one-list-per-extra form, for Python 3.10)."""
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(
        r"^\[project\.optional-dependencies\]\n(.*?)^\[", text, flags=re.MULTILINE | re.DOTALL
    )
    if not found:
        raise ValueError("pyproject.toml has no section [project.optional-dependencies]")
    return re.findall(r'"([^"]+)"', re.sub(r"#.*", "", found.group(1)))


def merge(resolved: dict[str, dict[str, str]]) -> list[str]:
    """Requirement lines that give every Python version (key) its own package versions."""
    lines = []
    for name in sorted({name for versions in resolved.values() for name in versions}):
        pythons_of: dict[str, list[str]] = {}
        for python in sort_versions(resolved):
            if name in resolved[python]:
                pythons_of.setdefault(resolved[python][name], []).append(python)
        everywhere = name in DESPITE_METADATA and len(pythons_of) == 1
        for version, pythons in pythons_of.items():
            conditions = ['sys_platform == "linux"'] if LINUX_ONLY.match(name) else []
            if not everywhere:
                conditions += python_conditions(pythons, sort_versions(resolved))
            lines.append("; ".join([f"{name}=={version}", " and ".join(conditions)]).rstrip("; "))
    return lines


def python_conditions(pythons: list[str], known: list[str]) -> list[str]:
    """Marker terms, to be joined by `and`, for a contiguous part of the known Python versions.

    The first and the last known version stand for older and newer ones too.
    Raises: ValueError when the part is not contiguous.
    """
    first, last = known.index(pythons[0]), known.index(pythons[-1])
    if known[first : last + 1] != pythons:
        raise ValueError(f"one version for Python {pythons} but not between: write it by hand")
    terms = [f'python_version >= "{known[first]}"'] if first > 0 else []
    if last + 1 < len(known):
        terms.append(f'python_version < "{known[last + 1]}"')
    return terms


def sort_versions(versions: dict[str, dict[str, str]]) -> list[str]:
    """The keys `3.9`, `3.10`, ... in the order of their numbers."""
    return sorted(versions, key=lambda version: [int(part) for part in version.split(".")])


if __name__ == "__main__":
    cli.run(main, parse_args())
