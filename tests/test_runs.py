"""Run directories: whole files, one writer, and no trust in what is read."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ganbench import runs
from ganbench.errors import RunError
from ganbench.runs import (
    RunDirectory,
    RunHeldError,
    atomic_write_bytes,
    atomic_write_text,
    find_runs,
    holder,
    read_run,
)

INFO = {"schema": 1, "status": "completed", "reason": None, "seed": 0}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small, whole run directory."""
    folder = tmp_path / "run"
    atomic_write_text(folder / "run.json", json.dumps(INFO))
    atomic_write_text(folder / "config.yaml", "seed: 0\n")
    return folder


# --- whole files ------------------------------------------------------------------------------------


def test_atomic_write_makes_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    for text in ("one", "zwölf"):
        atomic_write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_content_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    path = tmp_path / "file"
    atomic_write_bytes(path, b"old")

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    if broken == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        atomic_write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_atomic_write_reaches_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append("fsync"))
    monkeypatch.setattr(os, "replace", lambda *names: (order.append("replace"), replace(*names)))
    atomic_write_bytes(tmp_path / "file", b"data")
    assert order == ["fsync", "replace", "fsync"], "content, name, then the folder that holds the name"


def test_json_carries_no_nan(run: Path) -> None:
    directory = RunDirectory(run)
    directory.write_info(**INFO, seconds={"train": math.nan}, list=[math.inf, 1.5, "é"])
    text = (run / "run.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["seconds"] == {"train": None}
    assert json.loads(text)["list"] == [None, 1.5, "é"]
    directory.write_scores([{"schema": 1, "values": {"fid": math.nan}}])
    assert read_run(run).scores == [{"schema": 1, "values": {"fid": None}}]


def test_history_is_read_back_exactly(run: Path) -> None:
    rows = [
        [2, 16, 0.1 + 0.2, 1e-300, -3.5, 0.0, 1 / 3, 2.5, 0.5, 1e30, 7.0, 0.9],
        [4, 32, 1.5, *[math.nan] * 9],
    ]
    RunDirectory(run).write_history(rows)
    text = (run / "history.csv").read_text().splitlines()
    assert text[0] == (
        "step,images,train_seconds,d_loss,g_loss,d_penalty,d_real,d_fake,d_accuracy,d_grad_norm,g_grad_norm,"
        "diversity"
    )
    assert text[1].startswith("2,16,0.30000000000000004,1e-300,")
    found = read_run(run).history
    assert list(found[0].values()) == rows[0]
    assert list(found[1].values())[:3] == [4, 32, 1.5] and math.isnan(found[1]["g_grad_norm"])
    assert tuple(found[0]) == runs.HISTORY_COLUMNS


def test_a_history_may_lack_a_later_column(run: Path) -> None:
    old = [name for name in runs.HISTORY_COLUMNS if name not in runs.LATER_COLUMNS]
    (run / "history.csv").write_text(f"{','.join(old)}\n{','.join('1' for _ in old)}\n")
    (row,) = read_run(run).history
    assert tuple(row) == runs.HISTORY_COLUMNS
    assert {name for name, value in row.items() if math.isnan(value)} == set(runs.LATER_COLUMNS)
    assert {row[name] for name in old} == {1.0}
    (run / "history.csv").write_text(f"{','.join(old[:-1])}\n")
    with pytest.raises(RunError, match="lacks the column g_grad_norm"):
        _ = read_run(run).history


def test_checkpoints_rotate(run: Path) -> None:
    directory = RunDirectory(run)
    for data in (b"first", b"second", b"third"):
        directory.rotate_checkpoint(data)
    folder = run / "checkpoints"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "last.pt": b"third",
        "previous.pt": b"second",
    }


# --- one writer -------------------------------------------------------------------------------------


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


def test_running_needs_somebody_who_runs(held: tuple[Path, int, Callable[[], None]]) -> None:
    folder, _, kill = held
    atomic_write_text(folder / "run.json", json.dumps({**INFO, "status": "running"}))
    assert (read_run(folder).status, read_run(folder).reason) == ("running", None)
    kill()
    assert read_run(folder).status == "interrupted"
    assert "process ended" in (read_run(folder).reason or "")


def test_a_look_at_the_lock_does_not_stop_a_writer(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader asks by taking the lock for a moment; a run that starts in that moment waits for it."""
    import fcntl
    import threading

    (run / ".lock").touch()
    descriptor = os.open(run / ".lock", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    reader = threading.Timer(0.05, os.close, [descriptor])
    reader.start()
    directory = RunDirectory(run).open()
    reader.join()
    assert f"process {os.getpid()}" in (holder(run) or ""), "held once the reader has looked"
    directory.close()
    assert holder(run) is None


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "a" / "b" / "c").open()
    directory.discard()
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    RunDirectory(tmp_path / "a" / "b").open().discard()
    assert (tmp_path / "a").is_dir() and not (tmp_path / "a" / "b").exists()


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        RunError, match=r"output_root: cannot write .*file/x.*Not a directory.*output_root=FOLDER"
    ):
        RunDirectory(tmp_path / "file" / "x").open()


def test_clear_deletes_its_own_files_only(run: Path) -> None:
    own = ["run.json", "config.yaml", "history.csv", "scores.json", "train.log", "samples/step_0.png"]
    own += ["plots/loss_curves.png", "checkpoints/last.pt", "checkpoints/generator.safetensors"]
    own += ["tensorboard/events.out.tfevents.1", ".hydra/config.yaml", "samples/.final.png.12.tmp"]
    foreign = ["notes.txt", "samples/mine.jpg", "checkpoints/sub/last.pt", "run.json.bak", ".tmp", "data.tmp"]
    for name in own + foreign:
        atomic_write_text(run / name, "x")
    (run / "plots" / "scores.png").symlink_to(run / "notes.txt")
    RunDirectory(run).clear()
    left = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert left == set(foreign), "a link is deleted, not what it points to"


def test_temporaries_of_a_killed_process_are_swept(run: Path) -> None:
    for name in (".run.json.7.tmp", "checkpoints/.last.pt.7.tmp", "checkpoints/last.pt"):
        atomic_write_text(run / name, "x")
    RunDirectory(run).sweep_temporaries()
    assert {path.name for path in run.rglob("*") if path.is_file()} == {"run.json", "config.yaml", "last.pt"}


# --- no trust in what is read -----------------------------------------------------------------------

DAMAGED = {
    ("run.json", ""): "damaged",
    ("run.json", "{"): "damaged",
    ("run.json", '{"schema": 1, "status": "comp'): "damaged",
    ("run.json", "[]"): "damaged: must be an object, is list",
    ("run.json", "null"): "damaged: must be an object",
    ("run.json", "{}"): "schema=None must be a positive integer",
    ("run.json", '{"schema": true, "status": "completed"}'): "schema=True must be",
    ("run.json", '{"schema": "1", "status": "completed"}'): "schema='1' must be",
    ("run.json", '{"schema": 0, "status": "completed"}'): "schema=0 must be",
    ("run.json", '{"schema": 1}'): "status=None is none of running, completed",
    ("run.json", '{"schema": 1, "status": "fine"}'): "status='fine' is none of",
    ("run.json", '{"schema": 1, "status": ["completed"]}'): "is none of",
    ("run.json", '{"schema": 1, "status": {"a": 1}}'): "is none of",
    ("run.json", '{"schema": 2, "status": "completed"}'): r"newer ganbench \(schema 2, .*up to 1\); upgrade",
    ("run.json", "[" * 100_000): "damaged|deep",
    ("run.json", '{"schema": 1, "status": "completed", "x": ' + "9" * 5000 + "}"): "damaged",
    ("run.json", " " * (1 << 20) + "{}"): "more than the 1048576",
    ("run.json", b"\xff\xfe\x00"): "cannot be read",
    ("config.yaml", ""): "must be a mapping",
    ("config.yaml", "- a\n- b"): "must be a mapping",
    ("config.yaml", "a: [1"): "damaged",
    ("config.yaml", "a: !!python/object/apply:os.system [true]"): "damaged",
    ("config.yaml", "[" * 20_000): "nested deeper than 100",
    ("config.yaml", "a:\n" + "\n".join(" " * 2 * i + "a:" for i in range(1, 300))): "nested deeper than 100",
    ("config.yaml", "a: " + "x" * (1 << 18)): "more than the 262144",
    ("config.yaml", "a: 2020-99-99"): "damaged|cannot",
    ("history.csv", "step,d_loss\n1,abc"): "damaged",
    ("history.csv", "step,d_loss\n1,2,3"): "damaged",
    ("history.csv", 'step,d_loss\n1,"2'): "damaged",
    ("scores.json", "{}"): "damaged: must be a list of objects",
    ("scores.json", "[1]"): "damaged: must be a list of objects",
    ("scores.json", "[{}]"): "schema=None must be",
    ("scores.json", '[{"schema": 9}]'): "newer ganbench",
}


@pytest.mark.parametrize("name, content", DAMAGED, ids=lambda value: str(value)[:40])
def test_damaged_files_are_named(run: Path, name: str, content: str | bytes) -> None:
    atomic_write_bytes(run / name, content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RunError, match=DAMAGED[name, content]) as caught:
        record = read_run(run)
        record.history, record.scores  # noqa: B018
    assert str(run / name) in str(caught.value) and len(str(caught.value)) < 1000
    assert "\n" not in str(caught.value)


def test_yaml_that_grows_is_refused(run: Path) -> None:
    """Nine lines of aliases stand for a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    atomic_write_text(run / "config.yaml", "\n".join(lines))
    with pytest.raises(RunError, match="damaged: holds an alias"):
        read_run(run)


@pytest.mark.parametrize("name", ["run.json", "config.yaml", "history.csv", "scores.json"])
def test_links_out_of_the_folder_are_not_followed(run: Path, name: str) -> None:
    outside = run.parent / "secret"
    outside.write_text(json.dumps(INFO))
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    with pytest.raises(RunError, match="symbolic link; not followed"):
        record = read_run(run)
        record.history, record.scores  # noqa: B018


def test_a_link_inside_the_folder_is_fine(run: Path) -> None:
    (run / "run.json").rename(run / "real.json")
    (run / "run.json").symlink_to("real.json")
    assert read_run(run).status == "completed"


def test_absent_things(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match=r"not a run directory \(no run.json\)"):
        read_run(tmp_path)
    record = read_run(run)
    assert (record.history, record.scores, record.reason) == ([], [], None)
    (run / "config.yaml").unlink()
    with pytest.raises(RunError, match=r"config.yaml: cannot be read"):
        read_run(run)


def test_find_runs(tmp_path: Path) -> None:
    for name in ("b/s1/run.json", "a/s0/run.json", "a/s0/inner/run.json", "c/other.json"):
        atomic_write_text(tmp_path / name, "{}")
    for name in (".sweeps/x/run.json", "d/half/config.yaml", "d/half/train.log", "e/config.yaml"):
        atomic_write_text(tmp_path / name, "")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    found = [str(path.relative_to(tmp_path)) for path in find_runs(tmp_path)]
    assert found == ["a/s0", "b/s1", "d/half"]
    assert find_runs(tmp_path / "a" / "s0") == [tmp_path / "a" / "s0"]
    assert find_runs(tmp_path / "absent") == []
