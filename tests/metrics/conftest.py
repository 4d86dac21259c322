from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ganbench.data import Dataset, Split
from ganbench.metrics.cache import Cache
from ganbench.metrics.features import Features


class Projection:
    """A fixed random projection to 8 features and 3 logits, which counts the images it has seen."""

    sha256 = "0" * 64
    num_classes: int | None = 3
    channels = (1,)
    dataset_sha256 = None

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, images: Tensor, batch_size: int) -> Features:
        self.seen += len(images)
        flat = images.flatten(1).double() / 255 - 0.45
        weight = torch.randn(
            flat.shape[1], 11, generator=torch.Generator().manual_seed(3), dtype=torch.float64
        )
        out = (flat @ weight).float()
        return Features(out[:, :8], out[:, 8:])


def random_split(count: int, seed: int) -> Split:
    random = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 6, 6), generator=random, dtype=torch.uint8)
    return Split(images, torch.arange(count) % 3)


@pytest.fixture
def projection() -> Projection:
    return Projection()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def tiny() -> Dataset:
    """90 training and 60 test images of noise, three classes in turn."""
    return Dataset("tiny", random_split(90, 1), random_split(60, 2), 3)
