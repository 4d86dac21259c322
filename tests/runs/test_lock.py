"""One writer: the lock names its process and dies with it."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ganbench.runs import RunDirectory, RunHeldError, atomic_write_text, read_run
from ganbench.runs.lock import holder


def hold(path: str, pipe: Any) -> None:
    directory = RunDirectory(path).open()
    pipe.send("ready")
    pipe.poll(60)
    directory.close()


@pytest.fixture
def held(run: Path) -> Iterator[tuple[Path, int, Callable[[], None]]]:
    """A run directory that another process holds: folder, process, and a function that kills it."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=hold, args=(str(run), theirs))
    child.start()
    assert ours.poll(60) and ours.recv() == "ready"

    def kill() -> None:
        child.kill()
        child.join()

    yield run, child.pid or 0, kill
    kill()


def test_another_process_is_named(held: tuple[Path, int, Callable[[], None]]) -> None:
    folder, pid, kill = held
    assert f"process {pid} on host" in (holder(folder) or "")
    with pytest.raises(RunHeldError, match=f"held by process {pid} on host .*working on this run"):
        RunDirectory(folder).open()
    kill()
    assert holder(folder) is None, "the lock dies with its process"
    RunDirectory(folder).open().close()


def test_running_needs_somebody_who_runs(
    held: tuple[Path, int, Callable[[], None]], info: dict[str, Any]
) -> None:
    folder, _, kill = held
    atomic_write_text(folder / "run.json", json.dumps({**info, "status": "running"}))
    assert (read_run(folder).status, read_run(folder).reason) == ("running", None)
    kill()
    assert read_run(folder).status == "interrupted"
    assert "process ended" in (read_run(folder).reason or "")


@pytest.mark.parametrize("looks", [1, 3, 4])
def test_a_look_at_the_lock_does_not_stop_a_writer(
    run: Path, monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """A reader asks by taking the lock for a moment; a run that starts then waits for it three times."""
    (run / ".lock").touch()
    descriptor = os.open(run / ".lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == looks:
            os.close(descriptor)

    monkeypatch.setattr("ganbench.runs.lock.time.sleep", wait)
    directory = RunDirectory(run)
    if looks > 3:
        with pytest.raises(RunHeldError):
            directory.open()
        os.close(descriptor)
    else:
        directory.open()
        assert f"process {os.getpid()}" in (holder(run) or ""), "held once the reader has looked"
        directory.close()
        assert holder(run) is None
    assert len(waited) == min(looks, 3)
