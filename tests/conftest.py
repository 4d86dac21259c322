"""What all tests share: one thread, cheap disk and pictures, and configurations composed once."""

from __future__ import annotations

import copy
import json
import logging
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

# Before torch is imported: several test runs may share a machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

from ganbench.config import Config, compose
from ganbench.data import Dataset, build_dataset
from ganbench.engine.gan import GAN, build_gan, build_loss

torch.set_num_threads(1)

LOSSES = ("bce", "lsgan", "hinge", "wgan_clip", "wgan_gp", "sn_hinge")
SMALL = ("dataset=digits", "train.steps=3", "train.batch_size=4", "train.log_every=2", "eval.enabled=false")

GPU = torch.cuda.is_available()
"""Asked before a test hides the devices: driver and torch count them once in a process."""

Configure = Callable[..., Config]


@cache
def composed(overrides: tuple[str, ...]) -> Config:
    return compose(overrides)


@cache
def loaded(settings: str) -> Dataset:
    return build_dataset(json.loads(settings))


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Undo what a command changes in the process: arguments, environment, log handlers, threads."""
    # The user's own cache would be written to, and could answer for code that has changed since.
    monkeypatch.setenv("GANBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    disabled = {name: item.disabled for name, item in _loggers().items()}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, item in _loggers().items():
        item.disabled = disabled.get(name, False)
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def on_the_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No GPU, even on a machine that has one, except where a test asks for `cuda`."""
    if "cuda" not in request.fixturenames:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for processes that the test starts
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def cuda() -> torch.device:
    """The GPU; without one the test is skipped."""
    if not GPU:
        pytest.skip("no CUDA device")
    return torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def cheap_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight sample images and no plots, except where a test asks for `real_pictures`."""
    if "real_pictures" not in request.fixturenames:
        monkeypatch.setattr("ganbench.engine.loop.SAMPLE_COUNT", 8)
        monkeypatch.setattr("ganbench.engine.loop.CLASS_COLUMNS", 2)
        monkeypatch.setattr("ganbench.report.run_plots.loss_curves", lambda record: b"plot")


@pytest.fixture
def real_pictures() -> None:
    """Ask for the pictures and plots that a user gets."""


@pytest.fixture
def configure(tmp_path: Path) -> Iterator[Configure]:
    """A function from overrides to a configuration of a run of three steps below `tmp_path`."""
    outputs = tmp_path / "outputs"

    def make(*overrides: str) -> Config:
        named = {text.partition("=")[0].lstrip("+") for text in overrides}
        if named & {"train.epochs", "train.images"}:
            named.add("train.steps")
        small = tuple(text for text in SMALL if text.partition("=")[0] not in named)
        return {**copy.deepcopy(composed((*small, *overrides))), "output_root": str(outputs)}

    yield make
    # Checkpoints are large, and pytest keeps its folders.
    shutil.rmtree(outputs, ignore_errors=True)


@pytest.fixture
def cached_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sessions share one copy of each dataset."""

    def build(settings: dict[str, Any], root: Any = None) -> Dataset:
        return loaded(json.dumps(settings))

    monkeypatch.setattr("ganbench.session.build_dataset", build)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return loaded(json.dumps(composed(SMALL)["dataset"]))


@pytest.fixture
def gan_of(configure: Configure) -> Callable[..., GAN]:
    """A function from overrides to the two networks and optimisers they configure, seed 0."""

    def make(*overrides: str) -> GAN:
        torch.manual_seed(0)
        return build_gan(configure(*overrides), torch.device("cpu"))

    return make


@pytest.fixture
def loss_of(configure: Configure) -> Callable[..., Any]:
    """A function from a loss's name and overrides to the strategy they configure."""
    return lambda name, *overrides: build_loss(configure(f"loss={name}", *overrides))


@contextmanager
def _as_nobody() -> Iterator[None]:
    if os.geteuid() != 0:  # a user has no more rights than the modes give
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def without_rights(tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """A context without root's right to everything, in which `tmp_path` can be reached all the same."""
    before: dict[Path, int] = {}
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            mode = stat.S_IMODE(folder.stat().st_mode)
            if mode & 0o055 != 0o055:
                before[folder] = mode
                folder.chmod(mode | 0o055)
    yield _as_nobody
    for folder, mode in before.items():
        folder.chmod(mode)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real datasets; without it the test is skipped."""
    folder = os.environ.get("GANBENCH_DATA", "")
    if not folder or not Path(folder).is_dir():
        pytest.skip("GANBENCH_DATA names no folder with MNIST and Fashion-MNIST")
    return Path(folder)


def _loggers() -> dict[str, logging.Logger]:
    known = logging.Logger.manager.loggerDict
    return {name: item for name, item in known.items() if isinstance(item, logging.Logger)}
