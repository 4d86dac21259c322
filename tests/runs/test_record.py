"""Runs are found, and told from what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ganbench.errors import RunError
from ganbench.runs import atomic_write_text, find_runs, read_run


def test_absent_things(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match=r"not a run directory \(no run.json\)"):
        read_run(tmp_path)
    record = read_run(run)
    assert (record.history, record.scores, record.reason) == ([], [], None)
    (run / "config.yaml").unlink()
    with pytest.raises(RunError, match=r"config.yaml: cannot be read"):
        read_run(run)


def test_find_runs(tmp_path: Path) -> None:
    for name in (
        "b/s1/run.json",
        "a/s0/run.json",
        "a/s0/inner/run.json",
        "a/s0/plots/run.json",
        "c/other.json",
    ):
        atomic_write_text(tmp_path / name, "{}")
    for name in (".sweeps/x/run.json", "d/half/config.yaml", "d/half/train.log", "e/config.yaml"):
        atomic_write_text(tmp_path / name, "")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path)]
    assert found == ["a/s0", "a/s0/inner", "b/s1", "d/half"]
    assert find_runs(tmp_path / "b" / "s1") == [tmp_path / "b" / "s1"]
    assert find_runs(tmp_path / "absent") == []


def test_a_folder_that_cannot_be_listed_is_not_passed_over(tmp_path: Path, without_rights: Any) -> None:
    atomic_write_text(tmp_path / "a" / "s0" / "run.json", "{}")
    (tmp_path / "b").mkdir(mode=0o700)
    (tmp_path / "b").chmod(0o000)
    with without_rights():
        assert find_runs(tmp_path) == [tmp_path / "a" / "s0", tmp_path / "b"]
        with pytest.raises(RunError, match=r"b/run.json: cannot be read: Permission denied"):
            read_run(tmp_path / "b")
    (tmp_path / "b").chmod(0o700)
