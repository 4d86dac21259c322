"""What a number was computed with: packages, and the commit of ganbench itself."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

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


def git_state() -> dict[str, Any] | None:
    """Commit of ganbench's own source and whether it was changed; None outside a checkout."""
    source = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        """What git prints; raises where it fails or is absent."""
        return subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()

    try:
        # An installed package may lie inside somebody else's repository: then it is not tracked there.
        git("ls-files", "--error-unmatch", __file__)
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "."))}
    except (OSError, subprocess.SubprocessError):
        return None
