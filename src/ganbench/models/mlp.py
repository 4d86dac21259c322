"""Fully connected generator and discriminator (Goodfellow et al. 2014, arXiv:1406.2661)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ganbench.models.layers import SLOPE, first_and_last, normalised


class Generator(nn.Module):
    """z → widths → C·H·W, LeakyReLU .2, tanh."""

    def __init__(
        self, z_dim: int, channels: int, image_size: int, widths: Sequence[int] = (256, 512)
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        sizes = [z_dim, *widths]
        for fan_in, fan_out in pairwise(sizes):
            layers += [nn.Linear(fan_in, fan_out), nn.LeakyReLU(SLOPE, inplace=True)]
        layers += [nn.Linear(sizes[-1], channels * image_size**2), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.image_shape = (channels, image_size, image_size)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Latents B×Z to images B×C×H×W in [-1, 1]; labels are ignored."""
        return self.layers(z).unflatten(1, self.image_shape)


class Discriminator(nn.Module):
    """C·H·W → widths → 1, LeakyReLU .2."""

    def __init__(
        self, channels: int, image_size: int, widths: Sequence[int] = (512, 256), norm: str = "none"
    ) -> None:
        super().__init__()
        sizes = [channels * image_size**2, *widths]
        layers: list[nn.Module] = []
        for index, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            layer_norm = norm if index else first_and_last(norm)
            layers += normalised(nn.Linear(fan_in, fan_out), layer_norm, (fan_out,))
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        layers += normalised(nn.Linear(sizes[-1], 1), first_and_last(norm), (1,))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images B×C×H×W to logits B×1; labels are ignored."""
        return self.layers(x.flatten(1))
