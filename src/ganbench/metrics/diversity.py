"""How different the images of one class are: low where a generator repeats itself."""

from __future__ import annotations

import torch
from torch import Tensor

from ganbench.metrics.classes import ByClass, by_class

TOO_FEW = "no class has two generated images"


def pixel_std(images: Tensor, classes: Tensor, num_classes: int, per_class: int) -> ByClass:
    """Standard deviation of each pixel within a class, averaged over pixels, on a scale of 0..1.

    `images` are uint8 N×C×H×W, `classes` int64 N; the first `per_class` images of each class count.
    Two opposite halves (black and white) give the largest value, 0.5.

    Raises:
        MetricUndefined: no class has two images.
    """

    def spread(_: int, chosen: Tensor) -> Tensor:
        return (images[chosen].double() / 255).std(dim=0, correction=0).mean()

    return by_class(spread, classes, num_classes, per_class, least=2, reason=TOO_FEW)


def feature_distance(features: Tensor, classes: Tensor, num_classes: int, per_class: int) -> ByClass:
    """Mean Euclidean distance between all pairs within a class, in the extractor's units.

    `features` are N×D, `classes` int64 N; the first `per_class` images of each class count.

    Raises:
        MetricUndefined: no class has two images.
    """

    def mean_distance(_: int, chosen: Tensor) -> Tensor:
        return torch.pdist(features[chosen].double()).mean()

    return by_class(mean_distance, classes, num_classes, per_class, least=2, reason=TOO_FEW)
