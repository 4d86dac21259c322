"""Runs of a second, in this process or in forked ones, and what an undisturbed run ends with."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[2] / "scripts"), str(Path(__file__).parent)]

import fault_injection as faults  # noqa: E402
from small_runs import PLAIN  # noqa: E402

from ganbench.config import Config, compose  # noqa: E402


@pytest.fixture(scope="session")
def composed_plain() -> Config:
    return compose(PLAIN)


@pytest.fixture
def plain(composed_plain: Config, tmp_path: Path, cached_data: None) -> Config:
    """An unscored run of twelve steps with a checkpoint every three, below `tmp_path`."""
    return {**json.loads(json.dumps(composed_plain)), "output_root": str(tmp_path / "outputs")}


@pytest.fixture
def calm(plain: Config, tmp_path: Path) -> Callable[[], dict[str, str]]:
    """A function that gives the fingerprint of `plain` when nobody disturbs it."""
    from ganbench.session import run_path, train_run

    def make() -> dict[str, str]:
        undisturbed = {**plain, "output_root": str(tmp_path / "calm")}
        assert train_run(undisturbed).ok
        return faults.fingerprint(run_path(undisturbed))

    return make


@pytest.fixture
def finished(plain: Config) -> Path:
    """The directory of a completed `plain` run."""
    from ganbench.session import train_run

    return train_run(plain).path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where children write; shown when a test fails."""
    return tmp_path / "output.txt"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command writes without being told where lands in the test's own folder."""
    monkeypatch.chdir(tmp_path)
