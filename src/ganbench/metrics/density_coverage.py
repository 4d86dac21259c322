"""Density and coverage (Naeem et al. 2020, arXiv:2002.09797, eq. 5 and 6)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ganbench.metrics.errors import require_count
from ganbench.metrics.neighbours import blocks, radii


class DensityCoverage(NamedTuple):
    """Density (1 for equal distributions, may exceed 1) and coverage (fraction 0..1)."""

    density: float
    coverage: float


def density_coverage(
    generated: Tensor, reference: Tensor, k: int, reference_radii: Tensor | None = None
) -> DensityCoverage:
    """Density and coverage of features N×D against M×D.

    Density is the mean number of real balls around a generated sample over k; coverage the share of
    real balls that hold a generated sample. A ball reaches to the k-th nearest other real sample,
    its border left out, as in the authors' code. `reference_radii` float64 M spares finding them
    again.

    Raises:
        MetricUndefined: no generated sample, or the reference has no k-th neighbour.
    """
    require_count("generated images", len(generated), 1)
    require_count("reference images", len(reference), k + 1)
    if reference_radii is None:
        reference_radii = radii(reference, k)
    generated, reference = generated.double(), reference.double()
    inside_total = covered = 0
    for rows in blocks(len(reference), len(generated)):
        inside = torch.cdist(reference[rows], generated) < reference_radii[rows, None]
        inside_total += int(inside.sum())
        covered += int(inside.any(dim=1).sum())
    return DensityCoverage(inside_total / (k * len(generated)), covered / len(reference))
