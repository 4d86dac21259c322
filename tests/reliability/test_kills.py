"""kill -9 at any moment: the next start goes on from a whole checkpoint, to the same end, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import fault_injection as faults
import pytest
from small_runs import fail_at, step_of

from ganbench import runs
from ganbench.config import Config
from ganbench.engine.checkpoint import to_bytes
from ganbench.engine.loop import Training
from ganbench.runs import CHECKPOINT, PREVIOUS_CHECKPOINT, RunDirectory
from ganbench.runs.history import read_history
from ganbench.session import run_path, train_run


@pytest.fixture
def stopped(plain: Config, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run with its checkpoints of steps 3 and 6, stopped at 7."""
    with monkeypatch.context() as patch:
        fail_at(patch, 7)
        assert train_run(plain).status == runs.FAILED
    path = run_path(plain)
    assert [step_of(path / name) for name in (CHECKPOINT, PREVIOUS_CHECKPOINT)] == [6, 3]
    return path


def test_ten_kills_leave_no_trace(tmp_path: Path) -> None:
    """At random moments and in the middle of writing; `scripts/fault_injection.py` does many more."""
    tally = faults.torture(10, tmp_path, seed=1, recipes=faults.RECIPES[:1], per_run=5)
    assert tally.kills == 10
    assert tally.in_writing >= 1
    assert tally.completed >= 2
    assert tally.broken == []


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_killed_while_writing_a_checkpoint(
    plain: Config, stopped: Path, calm: Callable[[], dict[str, str]], log: Path, moment: str
) -> None:
    """Before, halfway through, or after what makes the checkpoint of step 9 the last one."""
    code = faults.finish(faults.start(faults.train_to_checkpoint, plain, moment, log=log))
    assert code == -9, log.read_text()
    assert (step_of(stopped / CHECKPOINT), step_of(stopped / PREVIOUS_CHECKPOINT)) == (
        (9, 6) if moment == "after" else (6, 6)
    )
    assert train_run(plain).ok
    assert faults.differences(calm(), faults.fingerprint(stopped)) == []


def test_killed_between_the_last_checkpoint_and_the_history(
    plain: Config, calm: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next start has no step to take, and still owes the history."""

    class PowerCut(BaseException):
        pass

    save_history = Training.save_history

    def cut(self: Training, run: RunDirectory) -> None:
        if self.step == self.total_steps:
            raise PowerCut
        save_history(self, run)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "save_history", cut)
        with pytest.raises(PowerCut):
            train_run(plain)
    path = run_path(plain)
    assert step_of(path / CHECKPOINT) == 12
    assert read_history(path)[-1]["step"] < 12
    assert train_run(plain).ok
    assert faults.differences(calm(), faults.fingerprint(path)) == []


def test_a_damaged_checkpoint_never_pushes_out_the_whole_one(stopped: Path) -> None:
    (stopped / CHECKPOINT).write_bytes(b"PK")
    run = RunDirectory(stopped).open()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space")))
        with pytest.raises(OSError, match="No space"):
            run.rotate_checkpoint(b"new")
    run.close()
    assert step_of(stopped / PREVIOUS_CHECKPOINT) == 3


def test_checkpoints_rotate_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    run = RunDirectory(tmp_path / "run").open()
    for step in (1, 2, 3):
        run.rotate_checkpoint(to_bytes({"step": step}))
    run.close()
    assert [step_of(run.path / name) for name in (CHECKPOINT, PREVIOUS_CHECKPOINT)] == [3, 2]


def test_leftovers_of_a_killed_writer_are_swept_and_nothing_else(plain: Config, stopped: Path) -> None:
    leftovers = [stopped / ".run.json.123.tmp", stopped / "checkpoints/.last.pt.123.tmp"]
    foreign = [stopped / ".notes.tmp", stopped / "samples/.mine.png.7.tmp", stopped / "deep/.run.json.1.tmp"]
    (stopped / "deep").mkdir()
    for path in (*leftovers, *foreign):
        path.write_text("x")
    assert train_run(plain).ok
    assert [path.exists() for path in (*leftovers, *foreign)] == [False, False, True, True, True]


def test_damaged_run_json_loses_no_checkpoint(plain: Config, stopped: Path) -> None:
    (stopped / "run.json").write_text('{"schema": 1, "stat')
    assert train_run(plain).ok
    assert "resumed at step 6" in (stopped / "train.log").read_text()
