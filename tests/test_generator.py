"""The exported weights as a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from torch import nn

from ganbench.generator import TrainedGenerator, exported_step, load_generator, to_safetensors
from ganbench.session import train_run

HASH = "0" * 64


def test_equal_weights_are_equal_files() -> None:
    """The library writes metadata in an order of chance: twenty files would hardly agree by it."""
    network = nn.Linear(3, 2)
    files = {to_safetensors(network, 7, 448, HASH) for _ in range(20)}
    (data,) = files
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    assert list(json.loads(data[8 : 8 + size])["__metadata__"]) == ["config_hash", "images", "step"]
    loaded = safetensors.torch.load(data)
    assert loaded.keys() == network.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


def test_any_name_is_kept() -> None:
    network = nn.ModuleDict({'ä"ö': nn.Linear(1, 1)})
    assert safetensors.torch.load(to_safetensors(network, 1, 2, HASH)).keys() == network.state_dict().keys()


def test_weights_that_two_layers_share_are_written_for_both() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[1].weight = network[0].weight
    loaded = safetensors.torch.load(to_safetensors(network, 1, 2, HASH))
    assert torch.equal(loaded["1.weight"], network[0].weight)


def test_the_step_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    assert exported_step(file) is None
    file.write_bytes(to_safetensors(nn.Linear(1, 1), 12, 48, HASH))
    assert exported_step(file) == 12
    file.write_bytes(b"something else")
    assert exported_step(file) is None


NEEDS_VALUES = """
import torch
from ganbench.models.mlp import Generator

class Mine(Generator):
    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.rates = torch.linspace(0, 0.1, 4).tolist()
"""


def test_a_trusted_generator_may_need_values_in_its_constructor(
    configure: Any, cached_data: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_values.py").write_text(NEEDS_VALUES)
    monkeypatch.syspath_prepend(tmp_path)
    config = configure("model=mlp")
    config["model"]["generator"]["_target_"] = "needs_values.Mine"
    path = train_run(config).path
    assert load_generator(path, trust=True).sample(2).shape == (2, 1, 28, 28)


class Shade(nn.Module):
    """Images whose every pixel says which class they are of, 0 to 2."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))

    def forward(self, z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (labels - 1).float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_classes_are_asked_for_in_turn_or_by_labels() -> None:
    trained = TrainedGenerator(Shade(), 4, True, 3, 1, 1, 0.0)
    assert trained.sample(4)[:, 0, 0, 0].tolist() == [0, 128, 255, 0]
    assert torch.equal(trained.sample(np.int64(4), np.int64(0)), trained.sample(4))  # type: ignore[arg-type]
    assert trained.sample(2, labels=torch.tensor([2, 1]))[:, 0, 0, 0].tolist() == [255, 128]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"count": 0}, "count=0, seed=0: must be integers, from 1"),
        ({"count": 1, "seed": -1}, "count=1, seed=-1: must be integers, .* and from 0 to"),
        ({"count": 1, "seed": 2**63}, "from 0 to 2"),
        (
            {"labels": torch.tensor([1, 2])},
            "must be int64 of shape .count,. = .64,., got torch.int64 of shape",
        ),
        ({"count": 2.5}, r"count=2\.5, seed=0: must be integers"),
        ({"count": True}, "count=True, seed=0: must be integers"),
        ({"count": 1, "labels": [1]}, "labels: must be a torch tensor, got list"),
        ({"count": 1, "labels": torch.tensor([1.0])}, "must be int64"),
        ({"count": 1, "labels": torch.tensor([3])}, "must lie in 0..2, got .3."),
        ({"count": 1, "labels": torch.tensor([-1])}, "must lie in 0..2"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TrainedGenerator(Shade(), 4, True, 3, 1, 1, 0.0).sample(**arguments)


def test_a_generator_without_classes_takes_no_labels() -> None:
    with pytest.raises(ValueError, match="labels: this generator knows no classes; leave them out"):
        TrainedGenerator(Shade(), 4, False, 3, 1, 1, 0.0).sample(1, labels=torch.tensor([0]))
