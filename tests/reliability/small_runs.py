"""What the tests of this folder share: a run of a moment, and ways to disturb it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import fault_injection as faults
import pytest

from ganbench import runs
from ganbench.engine.checkpoint import from_bytes
from ganbench.engine.loop import Training

PLAIN = (*faults.MLP, "eval.enabled=false", "train.steps=12", "train.checkpoint_every=3")
"""Twelve unscored steps with a checkpoint every three."""


def tree(folder: Path) -> dict[str, Any]:
    """Every file and link below a folder with its content."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        elif path.is_file():
            found[name] = path.read_bytes()
        else:
            found[name] = "folder" if path.is_dir() else "special"
    return found


def only_run(root: Path) -> Path:
    (path,) = runs.find_runs(root)
    return path


def step_of(checkpoint: Path) -> int:
    """The step after which a checkpoint was taken; it is whole."""
    return int(from_bytes(checkpoint.read_bytes())["step"])


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, what: Callable[[], object]) -> None:
    """Do something in the midst of the runs of this process."""
    advance = Training.advance

    def interfering(self: Training) -> None:
        if self.step == step:
            what()
        advance(self)

    monkeypatch.setattr(Training, "advance", interfering)


def fail_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the runs of this process fail after `step` steps."""

    def fail() -> None:
        raise RuntimeError("stopped by the test")

    at_step(monkeypatch, step, fail)


def wait_for(path: Path, child: BaseProcess) -> None:
    """Until a child has made a file."""
    deadline = time.monotonic() + 120
    while not path.exists():
        assert child.exitcode is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
