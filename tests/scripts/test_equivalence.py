"""The script behind the tables of equal training runs, and its yardstick is small."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ganbench.engine import step
from ganbench.models.subpixel import SubPixelConv2d

SCRIPT = Path(__file__).parents[2] / "scripts" / "equivalence.py"


@pytest.fixture
def equivalence(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # The script replaces both for each way.
    monkeypatch.setattr(SubPixelConv2d, "of_projection", SubPixelConv2d.of_projection)
    monkeypatch.setattr(step, "using_im2col", step.using_im2col)
    spec = importlib.util.spec_from_file_location("equivalence", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_pass_is_the_plain_way_but_for_rounding(equivalence: ModuleType) -> None:
    plain, fast = (
        equivalence.train("mlp/wgan_gp", torch.device("cpu"), way, sgd=True) for way in ("plain", "one pass")
    )
    assert plain.shape == (equivalence.STEPS, 2)
    assert float((fast - plain).abs().amax() / plain.abs().amax()) < 1e-5
    assert equivalence.difference(plain + plain.abs().amax(), plain) == "1.0e+00"
    assert equivalence.difference(None, plain) == "–"
