"""Conditional DCGAN at 64×64: both networks of `dcgan64` with the label as a further input.

The generator concatenates a learned label embedding with the latent (Mirza and Osindero 2014,
arXiv:1411.1784); the discriminator sees the label as one more image channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ganbench.models import dcgan64
from ganbench.models.dcgan64 import IMAGE_SIZE
from ganbench.models.layers import label_map


class Generator(nn.Module):
    """Latent and label embedding side by side → `dcgan64.Generator`."""

    def __init__(
        self,
        z_dim: int,
        channels: int,
        num_classes: int,
        embedding_dim: int = 10,
        features: Sequence[int] = (512, 256, 128, 64),
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_classes, embedding_dim)
        self.body = dcgan64.Generator(z_dim + embedding_dim, channels, features)

    def forward(self, z: Tensor, labels: Tensor) -> Tensor:
        """Latents B×Z and labels B to images B×C×64×64 in [-1, 1]."""
        return self.body(torch.cat([z, self.embedding(labels)], dim=1), labels)


class Discriminator(nn.Module):
    """Image and label map → `dcgan64.Discriminator`; spectral norm leaves the map alone, it is an input."""

    def __init__(
        self,
        channels: int,
        num_classes: int,
        features: Sequence[int] = (64, 128, 256, 512),
        norm: str = "batch",
    ) -> None:
        super().__init__()
        self.label_map = label_map(num_classes, IMAGE_SIZE)
        self.body = dcgan64.Discriminator(channels + 1, features, norm)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Images B×C×64×64 and labels B to logits B×1."""
        return self.body(torch.cat([x, self.label_map(labels)], dim=1), labels)
