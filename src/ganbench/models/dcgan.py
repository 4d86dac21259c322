"""DCGAN at 28×28 (Radford et al. 2015, arXiv:1511.06434)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ganbench.models.convolution import Conv2d, ConvTranspose2d
from ganbench.models.layers import (
    SLOPE,
    Dropout,
    Flatten,
    Project,
    first_and_last,
    layer_widths,
    normal_init,
    normalised,
)

BASE_SIZE = 7


class Generator(nn.Module):
    """Transposed convolutions 1 → 7 → 14 → 28 with batch norm and ReLU, tanh at the end."""

    def __init__(self, z_dim: int, channels: int, features: Sequence[int] = (128, 64)) -> None:
        super().__init__()
        first, second = layer_widths(features, 128, 64)
        self.layers = nn.Sequential(
            Project(z_dim, first, BASE_SIZE, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            ConvTranspose2d(first, second, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            ConvTranspose2d(second, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.apply(normal_init)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Latents B×Z to images B×C×28×28 in [-1, 1]; labels are ignored."""
        return self.layers(z)


class Discriminator(nn.Module):
    """Strided convolutions 28 → 14 → 7 → 1 with the normalisation the loss asks for."""

    def __init__(
        self, channels: int, features: Sequence[int] = (64, 128), norm: str = "batch", dropout: float = 0.0
    ) -> None:
        super().__init__()
        first, second = layer_widths(features, 64, 128)
        outer = first_and_last(norm)
        size = BASE_SIZE
        self.layers = nn.Sequential(
            *normalised(Conv2d(channels, first, 4, 2, 1), outer, (first, 2 * size, 2 * size)),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(dropout),
            *normalised(Conv2d(first, second, 4, 2, 1, bias=norm != "batch"), norm, (second, size, size)),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(dropout),
            Flatten(),
            *normalised(nn.Linear(second * size**2, 1), outer, (1,)),
        )
        self.apply(normal_init)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images B×C×28×28 to logits B×1; labels are ignored."""
        return self.layers(x)
