"""Does a generator repeat its training images?"""

from __future__ import annotations

from torch import Tensor

from ganbench.metrics.errors import require_count
from ganbench.metrics.neighbours import Neighbours, nearest


def train_closer(neighbours: Neighbours, train_spacing: Tensor) -> float:
    """Share 0..1 of generated samples as near to a training image as its nearest other one, or nearer.

    It is one minus the authenticity of Alaa et al. 2022 (arXiv:2102.08921).
    `neighbours` are each sample's nearest training image, `train_spacing` float64 M each training
    image's distance to its nearest other (`neighbours.nearest_other`). Copies give 1.
    Fresh real images give the probability that two nearest neighbours are mutual: at even density 2/3 in
    one dimension, 0.62 in two, falling to 1/2 (Pickard 1982, J. Appl. Prob. 19), less where some images are
    the nearest of many; the floors show what it is for a dataset. Images far from train give 0.

    Raises:
        MetricUndefined: no generated sample.
    """
    require_count("generated images", len(neighbours.position), 1)
    return float((neighbours.distance <= train_spacing[neighbours.position]).double().mean())


def closest_pairs(generated: Tensor, train: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Positions int64 of the `count` generated samples nearest to training images, and of those.

    `generated` are features N×D, `train` M×D; the closest pair comes first.
    """
    found = nearest(generated, train)
    order = found.distance.argsort(stable=True)[:count]
    return order, found.position[order]
