"""Sweeps and runs that meet: skipped, resumed, left to whoever holds them, taken over from the dead."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import fault_injection as faults
import pytest
from small_runs import PLAIN, fail_at, tree, wait_for

from ganbench import runs
from ganbench.cli import main
from ganbench.config import Config
from ganbench.runs import RunDirectory, RunHeldError
from ganbench.runs.lock import holder
from ganbench.session import run_path, train_run


def sweep(root: Path, *overrides: str) -> list[str]:
    return ["train", "-m", *PLAIN, f"output_root={root}", *overrides]


def by_seed(root: Path) -> dict[int, runs.RunRecord]:
    records = map(runs.read_run, runs.find_runs(root))
    return {record.info["seed"]: record for record in records}


def test_a_restarted_sweep_skips_resumes_and_runs_the_rest(
    tmp_path: Path, plain: Config, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "out"
    assert main(["train", *PLAIN, f"output_root={root}", "seed=1"]) == 0
    with monkeypatch.context() as patch:
        fail_at(patch, 7)
        assert main(["train", *PLAIN, f"output_root={root}", "seed=2"]) == 1
    complete = tree(by_seed(root)[1].path)
    capfd.readouterr()
    # In another order, and with one more.
    assert main(sweep(root, "seed=2,0,1")) == 0
    said = capfd.readouterr()
    records = by_seed(root)
    assert {seed: record.status for seed, record in records.items()} == dict.fromkeys(
        range(3), runs.COMPLETED
    )
    assert tree(records[1].path) == complete
    assert "complete, skipped" in said.err
    assert "resumed at step 6" in (records[2].path / "train.log").read_text()
    assert "3 runs" in said.out


def test_a_sweep_goes_on_after_failures_and_says_so(
    tmp_path: Path, plain: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "out"
    assert main(sweep(root, "loss.optimizer.lr=1e30,1e-4", "train.batch_size=16,5000")) == 1
    said = capfd.readouterr()
    statuses = sorted(runs.read_run(path).status for path in runs.find_runs(root))
    assert statuses == [runs.COMPLETED, runs.DIVERGED]
    assert "4 runs, 3 not completed" in said.out
    assert "refused" in said.out and "diverged" in said.out
    assert main(["compare", str(root)]) == 0
    assert "diverged" in capfd.readouterr().out


def test_two_processes_at_one_run(tmp_path: Path, plain: Config, log: Path) -> None:
    plain["train"]["steps"] = 100_000
    path = run_path(plain)
    first = faults.start(faults.train, plain, log=log)
    try:
        wait_for(path / "samples/step_0.png", first)
        before = runs.read_run(path)
        assert before.status == runs.RUNNING
        outcome = train_run(plain)
        assert outcome.ok and outcome.skipped
        assert outcome.reason is not None
        assert f"process {first.pid} on host {os.uname().nodename}" in outcome.reason
    finally:
        first.kill()
        faults.finish(first)
    # The lock of a dead process is free, and its run is not called running.
    assert holder(path) is None
    record = runs.read_run(path)
    assert (record.info["status"], record.status) == (runs.RUNNING, runs.INTERRUPTED)
    assert record.reason == "its process ended without a word"
    RunDirectory(path).open().close()


def test_a_held_run_does_not_stop_a_sweep(
    tmp_path: Path, plain: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "out"
    assert main(sweep(root, "seed=0,1")) == 0
    held = RunDirectory(by_seed(root)[0].path)
    held.open()
    capfd.readouterr()
    try:
        assert main(sweep(root, "seed=0,1", "force=true")) == 0
    finally:
        held.close()
    said = capfd.readouterr().out
    assert f"held by process {os.getpid()}" in said
    assert said.count(runs.COMPLETED) == 1


def test_a_stopped_process_still_holds_its_run(tmp_path: Path, plain: Config, log: Path) -> None:
    plain["train"]["steps"] = 100_000
    path = run_path(plain)
    child = faults.start(faults.train, plain, log=log)
    try:
        wait_for(path / "samples/step_0.png", child)
        os.kill(child.pid or 0, signal.SIGSTOP)
        with pytest.raises(RunHeldError):
            RunDirectory(path).open()
    finally:
        child.kill()
        faults.finish(child)


def test_a_folder_of_choice_in_which_a_run_had_hardly_begun_is_used(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    RunDirectory(folder).open().close()
    assert os.listdir(folder) == [".lock"]
    assert main(["train", *PLAIN, f"hydra.run.dir={folder}"]) == 0
    assert runs.read_run(folder).status == runs.COMPLETED


def test_another_run_in_the_same_folder_is_never_taken_for_this_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    arguments = ["train", *PLAIN, f"hydra.run.dir={folder}"]
    assert main([*arguments, "loss=bce"]) == 0
    before = tree(folder)
    assert main([*arguments, "loss=hinge"]) == 2
    assert "another run" in capfd.readouterr().err
    assert {**tree(folder), ".lock": b""} == {**before, ".lock": b""}
    assert main([*arguments, "loss=hinge", "force=true"]) == 0
    assert runs.read_run(folder).info["name"]["loss"] == "hinge"
