"""Kernel distance: unbiased squared MMD, cubic kernel (Bińkowski et al. 2018, arXiv:1801.01401)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ganbench.metrics.errors import require_count


class Kid(NamedTuple):
    """Mean and population standard deviation over the subsets; the mean may be just below 0."""

    mean: float
    std: float


def kid(generated: Tensor, reference: Tensor, subsets: int, subset_size: int, seed: int) -> Kid:
    """KID of features N×D against M×D with the kernel (x·y/D + 1)³, in float64.

    Each of the `subsets` draws `subset_size` samples without replacement from either side; the
    draws follow from `seed` alone (`numpy.random.RandomState`, generated before reference).

    torch-fidelity has the same from the same draws, at three times the time: most of it goes into numpy's
    power of three.

    Raises:
        MetricUndefined: fewer samples than `subset_size` on either side.
    """
    require_count("generated images", len(generated), subset_size)
    require_count("reference images", len(reference), subset_size)
    generated, reference = generated.double(), reference.double()
    draw = np.random.RandomState(seed)

    def some(features: Tensor) -> Tensor:
        return features[torch.from_numpy(draw.choice(len(features), subset_size, replace=False))]

    found = torch.stack([squared_mmd(some(generated), some(reference)) for _ in range(subsets)])
    return Kid(float(found.mean()), float(found.std(correction=0)))


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased estimate from samples m×D each (Gretton et al. 2012, JMLR 13, eq. 3)."""
    m = len(x)
    within = sum(kernel(side, side).fill_diagonal_(0).sum() for side in (x, y))
    return within / (m * (m - 1)) - 2 * kernel(x, y).mean()


def kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x·y/D + 1)³ for each pair of samples n×D and m×D."""
    base = torch.addmm(x.new_ones(()), x, y.T, alpha=1 / x.shape[1])
    return base.square().mul_(base)
