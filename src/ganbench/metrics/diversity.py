"""How different the images of one class are: low where a generator repeats itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ganbench.metrics.classes import first_of_each
from ganbench.metrics.errors import MetricUndefined


class Diversity(NamedTuple):
    """Mean over the classes that have two images or more, and each class (None: fewer than two)."""

    overall: float
    per_class: list[float | None]


def pixel_std(images: Tensor, classes: Tensor, num_classes: int, per_class: int) -> Diversity:
    """Standard deviation of each pixel within a class, averaged over pixels, on a scale of 0..1.

    `images` are uint8 N×C×H×W, `classes` int64 N; the first `per_class` images of each class count.
    Two opposite halves (black and white) give the largest value, 0.5.

    Raises:
        MetricUndefined: no class has two images.
    """

    def spread(chosen: Tensor) -> Tensor:
        return (images[chosen].double() / 255).std(dim=0, correction=0).mean()

    return _by_class(spread, classes, num_classes, per_class)


def feature_distance(features: Tensor, classes: Tensor, num_classes: int, per_class: int) -> Diversity:
    """Mean Euclidean distance between all pairs within a class, in the extractor's units.

    `features` are N×D, `classes` int64 N; the first `per_class` images of each class count.

    Raises:
        MetricUndefined: no class has two images.
    """

    def mean_distance(chosen: Tensor) -> Tensor:
        return torch.pdist(features[chosen].double()).mean()

    return _by_class(mean_distance, classes, num_classes, per_class)


def _by_class(
    measure: Callable[[Tensor], Tensor], classes: Tensor, num_classes: int, per_class: int
) -> Diversity:
    found = [
        float(measure(chosen)) if len(chosen) > 1 else None
        for chosen in first_of_each(classes, num_classes, per_class)
    ]
    known = [value for value in found if value is not None]
    if not known:
        raise MetricUndefined("no class has two generated images")
    return Diversity(sum(known) / len(known), found)
