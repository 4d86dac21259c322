from __future__ import annotations

import logging
import multiprocessing
import tempfile
from pathlib import Path

import pytest
import torch

from ganbench.metrics.cache import Cache, cache_folder


class Counted:
    """Computes once and for all the same tensors, and counts how often it is asked."""

    def __init__(self, scale: float = 1.0) -> None:
        self.calls = 0
        self.scale = scale

    def __call__(self):
        self.calls += 1
        return {"x": self.scale * torch.arange(6.0).view(2, 3), "y": torch.tensor([1, 2])}


def only_file(cache: Cache) -> Path:
    (path,) = cache.folder.iterdir()
    return path


def test_what_was_computed_is_read_by_the_next(cache):
    compute = Counted()
    first = cache.fetch("kind", {"of": "a"}, compute)
    second = Cache(cache.folder).fetch("kind", {"of": "a"}, compute)
    assert compute.calls == 1
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert second["y"].dtype == torch.int64


@pytest.mark.parametrize(("kind", "key"), [("kind", {"of": "b"}), ("other", {"of": "a"})])
def test_another_key_is_another_entry(cache, kind, key):
    cache.fetch("kind", {"of": "a"}, Counted())
    assert cache.fetch(kind, key, Counted(2.0))["x"][0, 1] == 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other key", "a folder"])
def test_a_damaged_file_is_made_again(cache, damage, caplog):
    cache.fetch("kind", {"of": "a"}, Counted())
    path = only_file(cache)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[:-3])
    elif damage == "flipped":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "other key":
        path.write_bytes(content.replace(b'\\"of\\": \\"a\\"', b'\\"of\\": \\"z\\"'))
        assert path.read_bytes() != bytes(content)
    else:
        path.unlink()
        path.mkdir()
    compute = Counted()
    with caplog.at_level(logging.WARNING):
        found = cache.fetch("kind", {"of": "a"}, compute)
    assert (compute.calls, found["x"][1, 2].item()) == (1, 5)
    assert str(path) in caplog.text
    if damage != "a folder":
        assert Cache(cache.folder).fetch("kind", {"of": "a"}, compute)["x"][1, 2] == 5
        assert compute.calls == 1


def test_an_unwritable_folder_is_said_once(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache, compute = Cache(tmp_path / "file" / "cache"), Counted()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert cache.fetch("kind", {}, compute)["x"][0, 1] == 1
    assert compute.calls == 2
    assert caplog.text.count("going on without it") == 1


def test_nothing_but_the_entry_is_left(cache):
    cache.fetch("kind", {}, Counted())
    assert only_file(cache).suffix == ".safetensors"


def write_many(folder: Path, failures) -> None:
    try:
        for i in range(40):
            path = Cache(folder).folder
            found = Cache(folder).fetch("kind", {}, Counted())
            assert found["x"][1, 2] == 5
            if i % 4 == 0:
                for file in path.glob("kind-*"):
                    file.unlink(missing_ok=True)
    except BaseException as error:
        failures.put(repr(error))


def test_two_processes_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    failures = context.Queue()
    workers = [context.Process(target=write_many, args=(tmp_path, failures)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert failures.empty(), failures.get()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert not list(tmp_path.glob(".*"))


def test_the_folder_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("GANBENCH_CACHE", raising=False)
    assert cache_folder() == tmp_path / "ganbench"
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("GANBENCH_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "ganbench"


@pytest.mark.parametrize("chosen", [None, "~nobody-by-that-name/cache"])
def test_nobody_without_a_home_goes_without_a_cache(monkeypatch, tmp_path, caplog, chosen):
    """As a container's unknown user has none."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("GANBENCH_CACHE", raising=False)
    if chosen:
        monkeypatch.setenv("GANBENCH_CACHE", chosen)

    def homeless(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)  # what it does where it knows no home
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert cache_folder() == tmp_path / "ganbench-cache"
    assert "set GANBENCH_CACHE" in caplog.text
