"""Sweeps whose jobs run side by side in processes of a launcher (`hydra/launcher=joblib`)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fault_injection as faults
import pytest
from small_runs import PLAIN

from ganbench import runs
from ganbench.config import Config
from ganbench.session import run_path, train_run

pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
joblib = pytest.importorskip("joblib")

SIDE_BY_SIDE = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


WAITING = """
import os, time
from pathlib import Path
from ganbench.data import digits_dataset


def digits(root, sha256):
    Path(f"waits-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    return digits_dataset(root, sha256)
"""
"""A dataset that is not loaded before the test says so: until then no run can end, and no other begin."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """A function that starts a sweep side by side; what is still at work at the test's end is killed."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*overrides: str, env: dict[str, str] | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ganbench", "train", "-m", *PLAIN, *SIDE_BY_SIDE, *overrides]
        process = subprocess.Popen(
            [*command, "output_root=outputs"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=env,
            start_new_session=True,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_each_has_its_share_of_the_cores(start: Start) -> None:
    free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    process = start("seed=0,1", "threads=null", env=free)
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    threads = [runs.read_run(path).info["host"]["threads"] for path in runs.find_runs(Path("outputs"))]
    assert threads == [max(1, joblib.cpu_count() // 2)] * 2


def test_runs_side_by_side_are_those_of_their_own(start: Start, plain: Config) -> None:
    """The same weights, history and all else as in this process, but for pictures, which are small here."""
    process = start("seed=0,1", "threads=1")
    said, _ = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert said.splitlines()[-1] == "2 runs"
    plain["threads"] = 1
    beside = faults.fingerprint(run_path(plain))
    assert train_run({**plain, "output_root": "alone"}).ok
    alone = faults.fingerprint(run_path({**plain, "output_root": "alone"}))
    differing = faults.differences(beside, alone)
    assert [name for name in differing if not name.startswith("samples/")] == []


@pytest.mark.parametrize(
    ("number", "send"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.kill), (signal.SIGTERM, os.killpg)]
)
def test_a_signal_stops_all_of_them_in_good_order(
    start: Start, number: int, send: Callable[[int, int], None]
) -> None:
    """Sent to the sweep's process, or to all of them as `timeout` and a terminal do."""
    process = start("seed=0,1,2", "train.steps=100000")
    wait_until(lambda: len(list(Path("outputs").rglob("step_0.png"))) == 2, process)
    send(process.pid, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, said
    assert "3 runs, 3 not completed" in said
    # The third was not begun.
    begun = [runs.read_run(path).info for path in runs.find_runs(Path("outputs"))]
    assert [(info["status"], info["reason"]) for info in begun] == [
        (runs.INTERRUPTED, f"stopped by {signal.Signals(number).name}")
    ] * 2


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_processes_of_a_killed_sweep_finish_their_run_and_end(start: Start) -> None:
    Path("mine").mkdir()
    Path("mine", "waiting.py").write_text(WAITING)
    process = start("seed=0,1,2", "--config-dir", "mine", "dataset.source._target_=waiting.digits")
    wait_until(lambda: len(list(Path().glob("waits-*"))) == 2, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 2
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    Path("go").touch()
    deadline = time.monotonic() + 120
    while any(is_at_work(child) for child in children):
        assert time.monotonic() < deadline, "they wait for somebody to take their results"
        time.sleep(0.1)
    # The third was not begun.
    assert [runs.read_run(path).status for path in runs.find_runs(Path("outputs"))] == [runs.COMPLETED] * 2


def is_at_work(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def wait_until(true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert process.poll() is None, process.stdout and process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
