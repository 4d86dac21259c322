"""Networks that judge or make each sample alone are told from those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganbench.engine.gan import GAN
from ganbench.engine.mixing import mixes_samples
from ganbench.models.layers import Dropout


class Critic(nn.Module):
    """A linear critic with `layer` before its last one."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(9, 6), layer, nn.Linear(6, 1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.layers(x)


class Deviation(nn.Module):
    """Adds what a batch's samples differ by, or nothing of it yet."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * x.std(dim=0)


class Pairs(nn.Module):
    """Each pair of samples sees its mean."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.unflatten(0, (-1, 2)).mean(1, keepdim=True).expand(-1, 2, -1).flatten(0, 1)


class Noise(nn.Module):
    """Adds noise to each sample."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class Written(nn.Module):
    """Refuses other weights than its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.weight != 1:
            raise RuntimeError("not mine")
        return x


@pytest.mark.parametrize(
    "layer, mixes",
    [
        (nn.BatchNorm1d(6), True),
        (Deviation(1.0), True),
        (Deviation(0.0), True),  # it will learn to
        (Pairs(), True),
        (Written(), True),  # nobody knows
        (nn.LayerNorm(6), False),
        (nn.Dropout(0.5), False),
        (Dropout(0.5), False),
        (spectral_norm(nn.Linear(6, 6)), False),
        (Noise(), False),
    ],
)
def test_what_mixes_samples_is_found_by_trying(layer: nn.Module, mixes: bool) -> None:
    critic = Critic(layer)
    state = {name: tensor.clone() for name, tensor in critic.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.randn(1)
    torch.manual_seed(3)
    assert mixes_samples(critic, (1, 3, 3)) == mixes
    assert torch.equal(torch.randn(1), expected), "the random numbers of training moved"
    assert all(torch.equal(state[name], tensor) for name, tensor in critic.state_dict().items())


@pytest.mark.parametrize(
    "overrides, g_mixes, d_mixes",
    [
        ("model=mlp", False, False),
        ("model=mlp loss.critic_norm=batch", False, True),
        ("model=mlp remedy.minibatch_std=true", False, True),
        ("model=mlp remedy.pack=2", False, False),
        ("model=dcgan", True, True),
        ("model=dcgan loss.critic_norm=layer", True, False),
        ("model=cgan", True, False),
        ("model=cgan loss.critic_norm=batch", True, True),
    ],
)
def test_of_our_models(overrides: str, g_mixes: bool, d_mixes: bool, gan_of: Callable[..., Any]) -> None:
    gan: GAN = gan_of("loss=hinge", *overrides.split())
    assert (gan.g_mixes, gan.d_mixes) == (g_mixes, d_mixes)
