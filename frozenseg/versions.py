"""Versions of what results and models depend on."""

from __future__ import annotations

import importlib.metadata
import platform

PACKAGES = (
    "frozenseg",
    "torch",
    "detectron2",
    "open_clip_torch",
    "timm",
    "numpy",
    "panopticapi-lite",
    "pycocotools",
)


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that scores can depend on."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
