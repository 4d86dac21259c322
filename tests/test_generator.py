"""The exported weights as a file."""

from __future__ import annotations

import json

import safetensors
import safetensors.torch
import torch
from torch import nn

from ganbench.generator import pack


def test_equal_weights_are_equal_files() -> None:
    """The library writes metadata in an order of chance: twenty files would hardly agree by it."""
    network = nn.Linear(3, 2)
    files = {pack(network, 7, 448) for _ in range(20)}
    (data,) = files
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    assert list(json.loads(data[8 : 8 + size])["__metadata__"]) == ["images", "step"]
    loaded = safetensors.torch.load(data)
    assert loaded.keys() == network.state_dict().keys()
    assert all(torch.equal(loaded[name], value) for name, value in network.state_dict().items())


def test_any_name_is_kept() -> None:
    network = nn.ModuleDict({'ä"ö': nn.Linear(1, 1)})
    assert safetensors.torch.load(pack(network, 1, 2)).keys() == network.state_dict().keys()
