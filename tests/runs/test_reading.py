"""No trust in what is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ganbench.errors import RunError
from ganbench.runs import atomic_write_bytes, atomic_write_text, read_run

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
    ("config.yaml", "[" * 20_000): "nested deeper than 100|flow level",  # libyaml may refuse first
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
def test_links_out_of_the_folder_are_not_followed(run: Path, name: str, info: dict[str, Any]) -> None:
    outside = run.parent / "secret"
    outside.write_text(json.dumps(info))
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(outside)
    with pytest.raises(RunError, match="symbolic link; not followed"):
        record = read_run(run)
        record.history, record.scores  # noqa: B018


def test_a_link_inside_the_folder_is_fine(run: Path) -> None:
    (run / "run.json").rename(run / "real.json")
    (run / "run.json").symlink_to("real.json")
    assert read_run(run).status == "completed"
