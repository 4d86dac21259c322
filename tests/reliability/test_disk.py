"""A full disk, a read-only one, a folder that goes away: one line, and nothing that was whole is lost."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import fault_injection as faults
import pytest
from small_runs import PLAIN, at_step

from ganbench import runs
from ganbench.cli import main
from ganbench.config import Config
from ganbench.engine.checkpoint import load_latest
from ganbench.errors import RunError
from ganbench.session import run_path, train_run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def resumable(path: Path) -> bool:
    return load_latest(path, runs.read_run(path).info["config_hash"]) is not None


def test_a_full_disk_is_one_line_and_a_later_start_resumes(
    plain: Config, calm: Callable[[], dict[str, str]], small_disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", *PLAIN, f"output_root={small_disk}"]
    assert main(arguments) == 1
    said = capfd.readouterr().err
    (path,) = runs.find_runs(small_disk)
    complaints = [line for line in said.splitlines() if "No space left" in line]
    assert len(complaints) == 1
    assert str(path) in complaints[0] and "the same command resumes" in complaints[0]
    assert "Traceback" not in said and "Logging error" not in said
    assert runs.read_run(path).status in (runs.FAILED, runs.INTERRUPTED)
    assert resumable(path)
    remount(small_disk, "size=4m")
    assert main(arguments) == 0
    assert "resumed at step" in (path / "train.log").read_text()
    assert faults.differences(calm(), faults.fingerprint(path)) == []


@pytest.mark.parametrize("sweep", [False, True])
def test_a_read_only_disk_is_refused_in_one_line(
    small_disk: Path, capfd: pytest.CaptureFixture[str], sweep: bool
) -> None:
    remount(small_disk, "ro")
    arguments = ["train", *(["-m"] if sweep else []), *PLAIN, f"output_root={small_disk}/out"]
    assert main(arguments) == 2
    said = capfd.readouterr().err
    assert "Read-only file system" in said and str(small_disk) in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (1, errno.ENOSPC),
        (3, errno.EROFS),
        (8, errno.ENOSPC),
        (13, errno.EIO),
        (21, errno.ENOSPC),
        (34, errno.EROFS),
    ],
)
def test_any_write_may_fail(
    plain: Config, calm: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    """From its `number`-th on every write fails, as on a disk that is full or was taken away."""
    left = number

    def sync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        try:
            outcome = train_run(plain)
            assert outcome.status == runs.FAILED
            assert outcome.reason is not None and os.strerror(code) in outcome.reason
            assert str(outcome.path) in outcome.reason
        except RunError as error:
            assert os.strerror(code) in str(error)
    path = run_path(plain)
    faults.require_whole(path)
    assert list(path.rglob("*.tmp")) == []
    assert train_run(plain).ok
    assert faults.differences(calm(), faults.fingerprint(path)) == []


def test_a_folder_that_goes_away_is_not_made_anew(
    plain: Config, calm: Callable[[], dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path, elsewhere = run_path(plain), tmp_path / "elsewhere"
    with monkeypatch.context() as patch:
        at_step(patch, 7, lambda: path.rename(elsewhere))
        outcome = train_run(plain)
    assert outcome.status == runs.FAILED
    assert outcome.reason is not None and "moved, deleted or replaced" in outcome.reason
    assert not path.exists()
    assert "Logging error" not in capfd.readouterr().err
    elsewhere.rename(path)
    assert train_run(plain).ok
    assert faults.differences(calm(), faults.fingerprint(path)) == []


def test_nothing_is_called_complete_that_could_not_be_written(
    plain: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_info = runs.RunDirectory.write_info

    def full(self: runs.RunDirectory, **changes: object) -> None:
        if changes.get("status") == runs.COMPLETED:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "run.json")
        write_info(self, **changes)

    with monkeypatch.context() as patch:
        patch.setattr(runs.RunDirectory, "write_info", full)
        outcome = train_run(plain)
    assert not outcome.ok
    assert train_run(plain).ok


def test_a_folder_in_the_place_of_the_log_is_named(plain: Config) -> None:
    assert train_run(plain).ok
    log = run_path(plain) / "train.log"
    log.unlink()
    log.mkdir()
    with pytest.raises(RunError, match=r"train.log: cannot be written: Is a directory; move it away"):
        train_run({**plain, "force": True})
