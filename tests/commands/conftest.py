from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ganbench.config import run_name
from ganbench.session import train_run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, ...], str]]:
    """A folder of runs, and where in it those of given overrides lie."""
    return tmp_path_factory.mktemp("trained"), {}


@pytest.fixture
def run_of(configure, cached_data, trained, tmp_path) -> Callable[..., Path]:
    """A function from overrides to a fresh copy of a run of three steps below `tmp_path`/outputs."""
    folder, known = trained

    def copy(*overrides: str) -> Path:
        if overrides not in known:
            config = {**configure(*overrides), "output_root": str(folder)}
            assert train_run(config).ok
            known[overrides] = run_name(config)
        name = known[overrides]
        shutil.copytree(folder / name, tmp_path / "outputs" / name)
        return tmp_path / "outputs" / name

    return copy


@pytest.fixture
def spoil() -> Callable[[Path], None]:
    """A function that fills the last weights of a run with NaN."""

    def fill(run: Path) -> None:
        path = run / "checkpoints" / "generator.safetensors"
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        state = safetensors.torch.load_file(path)
        for tensor in state.values():
            if tensor.is_floating_point():
                tensor.fill_(torch.nan)
        safetensors.torch.save_file(state, path, metadata)

    return fill
