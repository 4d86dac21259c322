"""A signal ends the step, not the run: checkpoint, status, exit code, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import fault_injection as faults
import pytest
from small_runs import PLAIN, only_run, step_of

from ganbench import runs
from ganbench.config import Config
from ganbench.runs import CHECKPOINT
from ganbench.session import run_path, train_run

CAUGHT = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]


@pytest.mark.parametrize("number", CAUGHT)
def test_the_step_is_finished_and_the_next_start_goes_on(tmp_path: Path, log: Path, number: int) -> None:
    arguments = ["train", *PLAIN, "loss.n_critic=2", "output_root=out"]
    # Between the two critic updates of the step after 7 whole ones.
    trap = faults.Signals(7, (number,))
    assert faults.finish(faults.start(faults.command, arguments, tmp_path, trap, log=log)) == 128 + number
    path = only_run(tmp_path / "out")
    record = runs.read_run(path)
    assert record.status == runs.INTERRUPTED
    assert record.info["status"] == runs.INTERRUPTED
    assert record.info["finished_at"] is not None
    assert record.reason == f"stopped by {signal.Signals(number).name}"
    assert record.info["steps_done"] == step_of(path / CHECKPOINT) == 8
    assert "Traceback" not in log.read_text()
    assert faults.finish(faults.start(faults.command, arguments, tmp_path, log=log)) == 0, log.read_text()
    record = runs.read_run(path)
    assert (record.status, record.info["steps_done"], record.info["resumed"]) == (runs.COMPLETED, 12, 1)
    assert "resumed at step 8" in (path / "train.log").read_text()


def test_stops_inside_critic_updates_change_nothing(
    plain: Config, calm: Callable[[], dict[str, str]], log: Path
) -> None:
    plain["loss"]["n_critic"] = 3
    for step in (0, 4, 5, 11):
        trap = faults.Signals(step, (signal.SIGTERM,))
        child = faults.start(faults.train_interrupted, plain, trap, log=log)
        assert faults.finish(child) == 128 + signal.SIGTERM, log.read_text()
        assert step_of(run_path(plain) / CHECKPOINT) == step + 1
    assert train_run(plain).ok
    assert runs.read_run(run_path(plain)).info["resumed"] == 4
    assert faults.differences(calm(), faults.fingerprint(run_path(plain))) == []


def test_a_second_signal_does_not_wait(plain: Config, calm: Callable[[], dict[str, str]], log: Path) -> None:
    trap = faults.Signals(7, (signal.SIGTERM, signal.SIGINT))
    child = faults.start(faults.train_interrupted, plain, trap, log=log)
    assert faults.finish(child) == 128 + signal.SIGINT
    path = run_path(plain)
    assert step_of(path / CHECKPOINT) == 6  # that before the signals: nothing was written after them
    assert runs.read_run(path).status == runs.INTERRUPTED
    assert train_run(plain).ok
    assert faults.differences(calm(), faults.fingerprint(path)) == []


def test_a_sweep_stops_and_goes_on(tmp_path: Path, log: Path) -> None:
    arguments = ["train", "-m", *PLAIN, "seed=0,1", "output_root=out"]
    trap = faults.Signals(7, (signal.SIGTERM,))
    assert faults.finish(faults.start(faults.command, arguments, tmp_path, trap, log=log)) == 143
    assert step_of(only_run(tmp_path / "out") / CHECKPOINT) == 8
    assert faults.finish(faults.start(faults.command, arguments, tmp_path, log=log)) == 0
    records = [runs.read_run(path) for path in runs.find_runs(tmp_path / "out")]
    assert [record.status for record in records] == [runs.COMPLETED] * 2
    assert sorted(record.info["resumed"] for record in records) == [0, 1]
    assert "resumed at step 8" in log.read_text()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_a_real_process_stops_within_five_seconds(tmp_path: Path) -> None:
    arguments = [*PLAIN, "train.steps=1000000", "train.checkpoint_every=1000000", "output_root=out"]
    with (tmp_path / "said.txt").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ganbench", "train", *arguments], cwd=tmp_path, stderr=output
        )
    try:
        deadline = time.monotonic() + 240
        while not list(tmp_path.glob("out/**/step_10.png")):
            assert process.poll() is None, (tmp_path / "said.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        before = processor_seconds(process.pid)
        process.terminate()
        deadline = time.monotonic() + 60  # far more than promised, for a busy machine
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            assert time.monotonic() < deadline, "still there a minute after SIGTERM"
            time.sleep(0.05)
        said = (tmp_path / "said.txt").read_text()
    finally:
        process.kill()
        process.wait()
    assert os.waitstatus_to_exitcode(status) == 143
    # Processor time: that of the clock, on a machine that has nothing else to do.
    assert usage.ru_utime + usage.ru_stime - before < 5
    record = runs.read_run(only_run(tmp_path / "out"))
    assert record.status == runs.INTERRUPTED
    assert record.info["steps_done"] == step_of(record.path / CHECKPOINT) >= 10
    assert "the same command resumes it" in said
    assert "Traceback" not in said


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
