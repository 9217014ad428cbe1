"""Installs detectron2 v0.6 as a pure-Python wheel, without a compiler.

A detectron2 that can be imported is kept, whatever its origin. Otherwise the sources of v0.6 are
downloaded by pip (checked by hash), adapted to current libraries by the rules in
frozenseg/detectron2_setup/rules.py, packed as a wheel, installed, and imported as a check. A wheel
that was kept is used if it still has the SHA-256 that lies beside it. torch and setuptools must be
installed before (`pip install setuptools 'frozenseg[full]'` does it).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from frozenseg.detectron2_setup import fetch, repack
from frozenseg.files import cache_folder, file_sha256, record_digest, recorded_digest

# What this project imports of detectron2; also what "importable" means for one that is kept.
REQUIRED_MODULES = tuple(
    f"detectron2.{name}"
    for name in (
        "checkpoint config data data.transforms engine evaluation layers modeling "
        "modeling.backbone modeling.postprocessing solver structures utils.comm utils.events "
        "utils.visualizer"
    ).split()
)
# Checked in our own wheel only: what the rules touch beside.
WHEEL_MODULES = tuple(
    f"detectron2.{name}" for name in "_C model_zoo projects.deeplab projects.point_rend".split()
)

PROBE = """
import importlib, json, sys, warnings
from importlib import metadata
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    importlib.import_module(name)
import detectron2
try:
    from detectron2 import _C
    ops = "pure Python, no compiled ops" if hasattr(_C, "PURE_PYTHON") else "with compiled ops"
except ImportError:
    ops = "no compiled ops"
try:
    files = metadata.distribution("detectron2")
    wheel, origin = files.read_text("WHEEL") or "", files.read_text("direct_url.json") or "{}"
except metadata.PackageNotFoundError:
    wheel, origin = "", "{}"
facts = {"version": getattr(detectron2, "__version__", "of unknown version"), "ops": ops}
facts.update(path=detectron2.__path__[0], wheel=wheel, url=json.loads(origin).get("url", ""))
facts["commit"] = json.loads(origin).get("vcs_info", {}).get("commit_id", "")
print("\\n" + json.dumps(facts))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--force", action="store_true", help="install even if detectron2 can be imported"
    )
    parser.add_argument(
        "--wheel-dir",
        type=Path,
        help="folder in which the finished wheel is kept for the next time (default: wheels in "
        "$FROZENSEG_CACHE or ~/.cache/frozenseg)",
    )


def main(args: argparse.Namespace) -> None:
    """Keeps, or builds and installs, detectron2 in the environment of this interpreter."""
    if not args.force and find_detectron2():
        return
    wheel = (args.wheel_dir or cache_folder("wheels")) / repack.wheel_name()
    if wheel.is_file() and file_sha256(wheel) == recorded_digest(wheel):
        print(f"detectron2: using {wheel}", flush=True)
    else:
        if wheel.is_file():
            print(f"detectron2: {wheel} is not as it was packed; packing it again", flush=True)
        build_wheel(wheel)
        record_digest(wheel, file_sha256(wheel))
    install(wheel)
    facts, problem = probe((*REQUIRED_MODULES, *WHEEL_MODULES))
    if problem:
        raise fetch.InstallError(f"the installed detectron2 cannot be imported: {problem}")
    print(f"detectron2: installed {describe(facts)}", flush=True)


def find_detectron2() -> bool:
    """True, and a line that says which, if the environment has a detectron2 that is to be kept."""
    facts, problem = probe(REQUIRED_MODULES)
    if problem == "ModuleNotFoundError: No module named 'detectron2'":
        message, keep = "not installed yet", False
    elif problem:
        message, keep = f"the one found cannot be imported ({problem}); replacing it", False
    elif repack.is_outdated(facts["wheel"]):
        message, keep = f"{describe(facts)} was made by older rules; replacing it", False
    else:
        message, keep = f"keeping {describe(facts)}", True
    print(f"detectron2: {message}", flush=True)
    return keep


def probe(modules: tuple[str, ...]) -> tuple[dict[str, str], str]:
    """Imports the modules in a fresh interpreter; returns (facts, problem), one of them empty."""
    result = subprocess.run(
        [sys.executable, "-c", PROBE, *modules],
        capture_output=True,
        text=True,
        cwd=sys.prefix,  # not a folder with a checkout of detectron2, which python -c would import
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        return {}, lines[-1] if lines else f"exit code {result.returncode}"
    return json.loads(result.stdout.strip().splitlines()[-1]), ""


def describe(facts: dict[str, str]) -> str:
    """One phrase about an installed detectron2: this project's, or upstream's of equal version."""
    if repack.GENERATOR in facts["wheel"]:
        origin = "this project's wheel"
    else:
        source = f" from {facts['url']}" if facts["url"] else ""
        commit = f" at {facts['commit'][:10]}" if facts["commit"] else ""
        origin = f"another build than this project's wheel{source}{commit}"
    return f"version {facts['version']}, {origin} ({facts['ops']}) in {facts['path']}"


def build_wheel(wheel: Path) -> None:
    """Fetches, adapts and packs detectron2 v0.6.

    Raises: InstallError when torch or setuptools is missing or pip fails, ValueError when the
        sources are not the expected ones.
    """
    for name in ("torch", "setuptools"):
        if importlib.util.find_spec(name) is None:
            raise fetch.InstallError(
                f"{name} is not installed in {sys.prefix}, and the sources of detectron2 need it "
                "to be downloaded; first run: pip install setuptools 'frozenseg[full]'"
            )
    print("detectron2: downloading the sources of v0.6", flush=True)
    with tempfile.TemporaryDirectory(prefix="detectron2-") as folder:
        root = fetch.fetch_sources(Path(folder))
        counts = repack.apply_rules(root)
        repack.write_wheel(root, wheel)
    print(f"detectron2: {len(counts)} edits, {sum(counts.values())} places; wrote {wheel}")


def install(wheel: Path) -> None:
    """Installs the wheel with pip, over one of the same version; keeps what it depends on.

    Raises: InstallError when pip fails.
    """
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    for options in (["--force-reinstall", "--no-deps"], []):  # then only what is missing
        if subprocess.run([*pip, *options, str(wheel)], stdin=subprocess.DEVNULL).returncode:
            raise fetch.InstallError(f"pip could not install {wheel}; its message is above")
