"""Networks without memory have the shapes of those with it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganbench.config import compose, instantiate
from ganbench.engine.gan import count_parameters
from ganbench.models.weightless import without_weights


@pytest.mark.parametrize("norm", ["auto", "layer", "spectral"])
@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan", "dcgan64", "cdcgan64"])
def test_shapes_are_those_of_the_network(model: str, norm: str) -> None:
    size = 64 if model.endswith("64") else 28
    config = compose([f"model={model}", f"loss.critic_norm={norm}", f"dataset.image_size={size}"])
    for part in ("generator", "discriminator"):
        node = config["model"][part]
        with without_weights():
            empty = instantiate(node).state_dict()
        real = instantiate(node).state_dict()
        assert {name: value.shape for name, value in empty.items()} == {
            name: value.shape for name, value in real.items()
        }
        assert all(value.is_meta for value in empty.values()) and not any(v.is_meta for v in real.values())


@pytest.mark.parametrize("model", ["mlp", "dcgan", "cgan", "dcgan64", "cdcgan64"])
def test_spectral_norm_has_no_weights_of_its_own(model: str) -> None:
    """So a critic is counted without it."""
    size = 64 if model.endswith("64") else 28
    node = compose([f"model={model}", f"dataset.image_size={size}"])["model"]["discriminator"]
    plain, spectral = (instantiate({**node, "norm": norm}) for norm in ("none", "spectral"))
    assert count_parameters(plain) == count_parameters(spectral)


def test_tensors_on_the_host_are_filled() -> None:
    """A constructor may compute with them."""
    with without_weights():
        computed = torch.empty(3, device="cpu").copy_(torch.ones(3, device="cpu"))
        drawn = nn.init.constant_(torch.empty(2, device="cpu"), 3.0)
    assert computed.tolist() == [1.0] * 3 and drawn.tolist() == [3.0] * 2


def test_more_than_any_machine_has() -> None:
    with without_weights():
        layer = nn.Linear(10**9, 10**6)
        nn.init.orthogonal_(nn.init.normal_(tensor=nn.Conv2d(3, 4, 5).weight, std=2.0))
    assert layer.weight.numel() == 10**15


def test_the_block_ends() -> None:
    with without_weights():
        pass
    values = nn.init.constant_(torch.empty(3), 2.0)
    assert not values.is_meta and values.tolist() == [2.0] * 3
    assert torch.empty(1).normal_(5.0, 0.01).item() == pytest.approx(5.0, abs=0.1)
