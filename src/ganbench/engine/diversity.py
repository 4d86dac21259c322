"""How varied a generator's images are, cheaply: a figure for every logging interval that needs no judge."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ganbench.data import to_float
from ganbench.engine.sampling import latents

COUNT = 64
REAL_BATCHES = 16
SEED = 20240607  # apart from those of training, sample grids and evaluation


def probe_inputs(z_dim: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Fixed latents 64×Z and labels, the classes in turn."""
    return latents(COUNT, z_dim, SEED), torch.arange(COUNT) % num_classes


def nearest_distance(images: Tensor) -> Tensor:
    """Mean distance of each of N uint8 images N×C×H×W to the nearest other one, pixels in [-1, 1].

    Small for a generator that repeats itself, however far apart its few images lie. The mean over all pairs
    would not be, nor would it notice a conditional generator that ignores its latents.
    """
    flat = to_float(images).flatten(1)
    # By matrix products, the default, equal images would come out some hundredths apart.
    distances = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist")
    distances.fill_diagonal_(math.inf)
    return distances.min(dim=1).values.mean()


def real_distance(images: Tensor) -> float:
    """`nearest_distance` in batches of 64 real images N×C×H×W, the mean over 16 batches.

    The batches are spread over the whole dataset, which may be sorted by class. NaN below 64 images.
    """
    if len(images) < COUNT:
        return math.nan
    index = torch.arange(COUNT * REAL_BATCHES, device=images.device) * len(images) // (COUNT * REAL_BATCHES)
    batches = images[index].unflatten(0, (COUNT, REAL_BATCHES)).unbind(1)
    return float(torch.stack([nearest_distance(batch) for batch in batches]).mean())


def diversity(images: Tensor, real: float) -> float:
    """`nearest_distance` of generated images over that of as many real ones: 0 all alike, 1 as varied."""
    return float(nearest_distance(images)) / real if real > 0 else math.nan
