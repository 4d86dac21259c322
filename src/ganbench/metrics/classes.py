"""What classes a classifier sees in generated images, against those asked for and real ones."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ganbench.metrics.errors import MetricUndefined


class Consistency(NamedTuple):
    """Share of images seen as the class asked for: mean over classes, and each (None: no image)."""

    overall: float
    per_class: list[float | None]


def first_of_each(labels: Tensor, num_classes: int, count: int) -> list[Tensor]:
    """Positions int64 of the first `count` images of each class, all of them if fewer."""
    return [(labels == label).nonzero().flatten()[:count] for label in range(num_classes)]


def class_histogram(classes: Tensor, num_classes: int) -> Tensor:
    """Share float64 K of each class among `classes` int64 N in 0..K-1.

    Raises:
        MetricUndefined: no images.
    """
    if not len(classes):
        raise MetricUndefined("no generated images")
    return torch.bincount(classes, minlength=num_classes).double() / len(classes)


def histogram_kl(generated: Tensor, reference: Tensor) -> float:
    """KL(generated ‖ reference) in nats between shares K.

    0 when equal, log K where only one of K equally frequent classes is made. This direction stays
    finite when a class is never generated.

    Raises:
        MetricUndefined: a class is generated that the reference doesn't have.
    """
    unseen = ((reference == 0) & (generated > 0)).nonzero().flatten().tolist()
    if unseen:
        raise MetricUndefined(f"classes {unseen} are generated but not in the reference")
    share = generated.double()
    kept = share > 0
    return float((share[kept] * (share[kept] / reference.double()[kept]).log()).sum())


def class_consistency(predicted: Tensor, asked: Tensor, num_classes: int, per_class: int) -> Consistency:
    """How often the predicted class int64 N is the one asked for, in the first `per_class` of each.

    Raises:
        MetricUndefined: no class was asked for.
    """
    shares = [
        float((predicted[chosen] == label).double().mean()) if len(chosen) else None
        for label, chosen in enumerate(first_of_each(asked, num_classes, per_class))
    ]
    known = [share for share in shares if share is not None]
    if not known:
        raise MetricUndefined("no generated images")
    return Consistency(sum(known) / len(known), shares)
