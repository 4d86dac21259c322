"""What a number was computed with."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("ganbench", "torch", "torchvision", "numpy", "hydra-core", "torch-fidelity")


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on; "not installed" for an absent one."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found
