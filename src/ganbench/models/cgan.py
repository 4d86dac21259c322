"""Conditional GAN (Mirza and Osindero 2014, arXiv:1411.1784) with a sub-pixel generator.

The generator multiplies the latent with a class embedding and upscales with sub-pixel convolutions
(Shi et al. 2016, arXiv:1609.05158); the discriminator sees the label as one more image channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganbench.models.convolution import Conv2d
from ganbench.models.layers import (
    SLOPE,
    Dropout,
    Flatten,
    Project,
    first_and_last,
    label_map,
    layer_widths,
    normalised,
)
from ganbench.models.subpixel import SubPixelConv2d

BASE_SIZE = 7


class Generator(nn.Module):
    """z · embedding → 128×7×7 → twice sub-pixel convolution, batch norm, ReLU → 28×28."""

    def __init__(
        self, z_dim: int, channels: int, num_classes: int, features: Sequence[int] = (128, 64)
    ) -> None:
        super().__init__()
        first, second = layer_widths(features, 128, 64)
        self.embedding = nn.Embedding(num_classes, z_dim)
        self.project = Project(z_dim, first, BASE_SIZE)
        self.layers = nn.Sequential(
            *_upscale(first, first),
            *_upscale(first, second),
            nn.Conv2d(second, channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Latents B×Z and labels B to images B×C×28×28 in [-1, 1]."""
        first, *others = self.layers
        x: Tensor = first.of_projection(self.project, z * self.embedding(labels))  # type: ignore[operator]
        for layer in others:
            x = layer(x)
        return x


class Discriminator(nn.Module):
    """Image and label map → two strided convolutions → 512 → 1.

    The label map is an input like the image, so spectral norm leaves the embedding alone.
    """

    def __init__(
        self,
        channels: int,
        image_size: int,
        num_classes: int,
        features: Sequence[int] = (32, 64),
        norm: str = "spectral",
        dropout: float = 0.25,
        hidden: int = 512,
    ) -> None:
        super().__init__()
        first, second = layer_widths(features, 32, 64)
        half, quarter = image_size // 2, image_size // 4
        self.label_map = label_map(num_classes, image_size)
        outer = first_and_last(norm)
        self.layers = nn.Sequential(
            *normalised(Conv2d(channels + 1, first, 4, 2, 1), outer, (first, half, half)),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(dropout),
            *normalised(Conv2d(first, second, 4, 2, 1), norm, (second, quarter, quarter)),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(dropout),
            Flatten(),
            *normalised(nn.Linear(second * quarter**2, hidden), norm, (hidden,)),
            nn.LeakyReLU(SLOPE, inplace=True),
            Dropout(dropout),
            *normalised(nn.Linear(hidden, 1), outer, (1,)),
        )

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images B×C×H×W and labels B to logits B×1."""
        return self.layers(torch.cat([x, self.label_map(labels)], dim=1))


def _upscale(fan_in: int, fan_out: int) -> list[nn.Module]:
    return [SubPixelConv2d(fan_in, fan_out), nn.BatchNorm2d(fan_out), nn.ReLU(inplace=True)]
