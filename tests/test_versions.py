"""Tests for ganbench.versions."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from ganbench.versions import PACKAGES, git_state, versions


def test_names_what_is_installed_and_what_is_not(monkeypatch):
    monkeypatch.setattr("ganbench.versions.PACKAGES", (*PACKAGES, "no-such-package"))
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert found["no-such-package"] == "not installed"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_state_is_that_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@x", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    source = tmp_path / "versions.py"
    source.write_text("a = 1\n")
    monkeypatch.setattr("ganbench.versions.__file__", str(source))
    assert git_state() is None, "no repository"
    git("init", "-q")
    assert git_state() is None, "somebody else's repository: not tracked there"
    git("add", "versions.py")
    git("commit", "-qm", "x")
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    source.write_text("a = 2\n")
    assert git_state() == {"commit": git("rev-parse", "HEAD"), "dirty": True}
