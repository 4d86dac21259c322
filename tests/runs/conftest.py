"""A small, whole run directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganbench.runs import atomic_write_text


@pytest.fixture
def info() -> dict[str, Any]:
    """The run.json of `run`."""
    return {"schema": 1, "status": "completed", "reason": None, "seed": 0}


@pytest.fixture
def run(tmp_path: Path, info: dict[str, Any]) -> Path:
    folder = tmp_path / "run"
    atomic_write_text(folder / "run.json", json.dumps(info))
    atomic_write_text(folder / "config.yaml", "seed: 0\n")
    return folder
