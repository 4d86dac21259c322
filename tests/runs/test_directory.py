"""What a writer leaves in a run directory, and that it deletes nothing but its own."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from ganbench.engine.checkpoint import to_bytes
from ganbench.runs import RunDirectory, UnwritableError, atomic_write_text, read_run


def test_json_carries_no_nan(run: Path, info: dict[str, Any]) -> None:
    directory = RunDirectory(run)
    directory.write_info(**info, seconds={"train": math.nan}, list=[math.inf, 1.5, "é"])
    text = (run / "run.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=pytest.fail)["seconds"] == {"train": None}
    assert json.loads(text)["list"] == [None, 1.5, "é"]
    directory.write_scores([{"schema": 1, "values": {"fid": math.nan}}])
    assert read_run(run).scores == [{"schema": 1, "values": {"fid": None}}]


def test_checkpoints_rotate(run: Path) -> None:
    directory = RunDirectory(run)
    for data in (b"first", b"second", b"third"):
        directory.rotate_checkpoint(data)
    folder = run / "checkpoints"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "last.pt": b"third",
        "previous.pt": b"second",
    }


def test_a_rotation_that_was_cut_short_is_made_up_for(run: Path) -> None:
    """Killed after the link: both names are one file then, and a rename of one to the other does nothing."""
    folder = run / "checkpoints"
    RunDirectory(run).rotate_checkpoint(to_bytes({"step": 1}))
    os.link(folder / "last.pt", folder / "previous.pt")
    RunDirectory(run).rotate_checkpoint(b"second")
    assert sorted(path.name for path in folder.iterdir()) == ["last.pt", "previous.pt"]
    assert (folder / "last.pt").read_bytes() == b"second"


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "a" / "b" / "c").open()
    directory.discard()
    assert not list(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    RunDirectory(tmp_path / "a" / "b").open().discard()
    assert (tmp_path / "a").is_dir() and not (tmp_path / "a" / "b").exists()


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableError, match=r"cannot write .*file/x: Not a directory; make it writable"):
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
