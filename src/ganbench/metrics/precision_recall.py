"""Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ganbench.metrics.errors import require_count
from ganbench.metrics.neighbours import blocks, radii


class PrecisionRecall(NamedTuple):
    """Fractions 0..1: generated inside the real manifold, real inside the generated manifold."""

    precision: float
    recall: float


def precision_recall(
    generated: Tensor, reference: Tensor, k: int, reference_radii: Tensor | None = None
) -> PrecisionRecall:
    """Precision and recall of features N×D against M×D (eq. 1 and 2), in float64.

    A manifold is the union of closed balls around each sample, reaching to its k-th nearest neighbour in
    its own set, the sample itself not counted. It differs from the paper only in what surrounds it: the
    paper's features are VGG-16's, ours are the protocol's extractor's. `reference_radii` float64 M spares
    finding them again.

    torch-fidelity has the same, at three times the time: it measures each distance twice, and the
    reference's own anew for every set of images.

    Raises:
        MetricUndefined: either side has no k-th neighbour.
    """
    require_count("generated images", len(generated), k + 1)
    require_count("reference images", len(reference), k + 1)
    if reference_radii is None:
        reference_radii = radii(reference, k)
    generated_radii = radii(generated, k)
    generated, reference = generated.double(), reference.double()
    precise = torch.zeros(len(generated), dtype=torch.bool)
    recalled = 0
    for rows in blocks(len(reference), len(generated)):
        distance = torch.cdist(reference[rows], generated)
        precise |= (distance <= reference_radii[rows, None]).any(dim=0)
        recalled += int((distance <= generated_radii).any(dim=1).sum())
    return PrecisionRecall(int(precise.sum()) / len(generated), recalled / len(reference))
