"""DCGAN at 64×64 (Radford et al. 2015, arXiv:1511.06434), without biases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from ganbench.models.convolution import Conv2d, ConvTranspose2d
from ganbench.models.layers import (
    SLOPE,
    Flatten,
    Project,
    first_and_last,
    layer_widths,
    normal_init,
    normalised,
)

BASE_SIZE = 4
IMAGE_SIZE = 64


class Generator(nn.Module):
    """Transposed convolutions 1 → 4 → 8 → 16 → 32 → 64 with batch norm and ReLU, tanh at the end."""

    def __init__(self, z_dim: int, channels: int, features: Sequence[int] = (512, 256, 128, 64)) -> None:
        super().__init__()
        first, *_, last = layer_widths(features, 512, 256, 128, 64)
        layers: list[nn.Module] = [
            Project(z_dim, first, BASE_SIZE, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        ]
        for fan_in, fan_out in pairwise(features):
            layers += [
                ConvTranspose2d(fan_in, fan_out, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(fan_out),
                nn.ReLU(inplace=True),
            ]
        layers += [ConvTranspose2d(last, channels, 4, stride=2, padding=1, bias=False), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(normal_init)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Latents B×Z to images B×C×64×64 in [-1, 1]; labels are ignored."""
        return self.layers(z)


class Discriminator(nn.Module):
    """Strided convolutions 64 → 32 → 16 → 8 → 4 → 1 with the normalisation the loss asks for."""

    def __init__(
        self, channels: int, features: Sequence[int] = (64, 128, 256, 512), norm: str = "batch"
    ) -> None:
        super().__init__()
        *_, last = layer_widths(features, 64, 128, 256, 512)
        outer, size = first_and_last(norm), IMAGE_SIZE
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise([channels, *features]):
            size //= 2
            convolution = Conv2d(fan_in, fan_out, 4, 2, 1, bias=False)
            layers += normalised(convolution, norm if layers else outer, (fan_out, size, size))
            layers.append(nn.LeakyReLU(SLOPE, inplace=True))
        layers += [Flatten(), *normalised(nn.Linear(last * BASE_SIZE**2, 1, bias=False), outer, (1,))]
        self.layers = nn.Sequential(*layers)
        self.apply(normal_init)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images B×C×64×64 to logits B×1; labels are ignored."""
        return self.layers(x)
