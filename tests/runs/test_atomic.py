"""Files are whole: the old content or the new, never a part."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ganbench.runs import atomic_write_bytes, atomic_write_text


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
