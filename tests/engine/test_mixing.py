"""Networks that judge or make each sample alone are told from those that do not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganbench.config import instantiate
from ganbench.engine.gan import GAN, shown_shape
from ganbench.engine.mixing import has_mixing_layer, mixes_samples
from ganbench.engine.remedies import fit_discriminator
from ganbench.models.layers import Dropout

SEEDS = range(6)


class Critic(nn.Module):
    """A critic of 3×3 images with `layer` before its last one."""

    def __init__(self, layer: nn.Module, activation: nn.Module | None = None) -> None:
        super().__init__()
        begin = [nn.Flatten(), nn.Linear(9, 64), activation or nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*begin, layer, nn.Linear(64, 1))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.layers(x)


class Deviation(nn.Module):
    """Adds what a batch's samples differ by, or nothing of it yet."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), start))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * x.std(dim=0).mean()


class Made(nn.Module):
    """What a function makes of the samples."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def in_groups(size: int) -> Callable[[Tensor], Tensor]:
    """Each group of consecutive samples sees its mean."""
    return lambda x: torch.cat([part - part.mean(0) for part in x.split(size)])


class OfLabels(nn.Module):
    """A critic whose labels alone see each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.critic = nn.Embedding(3, 64), Critic(nn.Identity())

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.critic(x, labels) + self.embedding(labels).mean()


class Remembering(nn.Module):
    """Keeps how often it was called, in an attribute and in a buffer it makes then."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.register_buffer("noise", torch.randn(1))
        return x


class Stubborn(nn.Module):
    """Fails with an error of its own."""

    def forward(self, x: Tensor) -> Tensor:
        raise StopIteration


MIXING = {
    "batch norm": Critic(nn.BatchNorm1d(64)),
    "deviation": Critic(Deviation(1.0)),
    "deviation that begins at zero": Critic(Deviation(0.0)),
    "deviation of sigmoids": Critic(Deviation(0.0), nn.Sigmoid()),
    "deviation of tanh": Critic(Deviation(0.0), nn.Tanh()),
    "deviation of ReLU": Critic(Deviation(0.0), nn.ReLU()),
    "pairs": Critic(Made(in_groups(2))),
    "threes": Critic(Made(in_groups(3))),
    "sums": Critic(Made(lambda x: x.cumsum(0))),
    "held to the first": Critic(Made(lambda x: x - x[:1])),
    "labels": OfLabels(),
    "nobody knows": Critic(Stubborn()),
}
ALONE = {
    "layer norm": Critic(nn.LayerNorm(64)),
    "dropout": Critic(nn.Dropout(0.5)),
    "our dropout": Critic(Dropout(0.5)),
    "spectral norm": Critic(spectral_norm(nn.Linear(64, 64))),
    "noise": Critic(Made(lambda x: x + torch.randn_like(x))),
    "memory": Critic(Remembering()),
}


@pytest.mark.parametrize("name", [*MIXING, *ALONE])
def test_what_mixes_samples_is_found_by_trying(name: str) -> None:
    critic = {**MIXING, **ALONE}[name]
    state = {key: tensor.clone() for key, tensor in critic.state_dict().items()}
    for seed in SEEDS:
        torch.manual_seed(seed)
        expected = torch.randn(1)
        torch.manual_seed(seed)
        assert mixes_samples(critic, (1, 3, 3), 3) == (name in MIXING)
        assert torch.equal(torch.randn(1), expected), "the random numbers of training moved"
    after = critic.state_dict()
    assert state.keys() == after.keys() and all(torch.equal(state[key], after[key]) for key in state)
    assert not any(getattr(module, "calls", 0) for module in critic.modules())


@pytest.mark.parametrize("seed", [0, 1, 4])
@pytest.mark.parametrize(
    "overrides, g_mixes, d_mixes",
    [
        ("model=mlp", False, False),
        ("model=mlp loss.critic_norm=batch", False, True),
        ("model=mlp loss.critic_norm=spectral remedy.minibatch_std=true remedy.pack=2", False, True),
        ("model=mlp remedy.pack=2", False, False),
        ("model=dcgan", True, True),
        ("model=dcgan loss.critic_norm=layer", True, False),
        ("model=cgan", True, False),
        ("model=cgan remedy.minibatch_std=true", True, True),
        ("model=cgan loss.critic_norm=batch", True, True),
    ],
)
def test_our_models_are_known_and_a_trial_says_the_same(
    overrides: str, g_mixes: bool, d_mixes: bool, seed: int, gan_of: Callable[..., Any], configure: Any
) -> None:
    gan: GAN = gan_of("loss=hinge", *overrides.split())
    assert (gan.g_mixes, gan.d_mixes) == (g_mixes, d_mixes)
    config = configure("loss=hinge", *overrides.split())
    torch.manual_seed(seed)
    generator = instantiate(config["model"]["generator"])
    critic = fit_discriminator(instantiate(config["model"]["discriminator"]), config["remedy"])
    assert mixes_samples(generator, (100,), 10) == has_mixing_layer(generator) == g_mixes
    assert mixes_samples(critic, shown_shape(config), 10) == has_mixing_layer(critic) == d_mixes


def test_networks_of_ones_own_are_tried(configure: Any) -> None:
    from ganbench.engine.gan import build_gan

    config = configure("loss=hinge")
    config["model"]["discriminator"] = {"_target_": f"{__name__}.OfLabels"}
    config["dataset"] = {**config["dataset"], "num_classes": 3, "image_size": 3}
    assert build_gan(config, torch.device("cpu")).d_mixes
