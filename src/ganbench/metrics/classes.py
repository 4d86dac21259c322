"""What classes a classifier sees in generated images, against those asked for and real ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ganbench.metrics.errors import MetricUndefined


class ByClass(NamedTuple):
    """A figure of each class (None: it has too few images for one), and their mean."""

    overall: float
    per_class: list[float | None]


def first_of_each(labels: Tensor, num_classes: int, count: int) -> list[Tensor]:
    """Positions int64 of the first `count` images of each class, all of them if fewer."""
    return [(labels == label).nonzero().flatten()[:count] for label in range(num_classes)]


def by_class(
    measure: Callable[[int, Tensor], Tensor],
    labels: Tensor,
    num_classes: int,
    per_class: int,
    *,
    least: int,
    reason: str,
) -> ByClass:
    """What `measure` finds of each class, from its label and positions, and the mean of these figures.

    The first `per_class` images of a class count; one with fewer than `least` has no figure.

    Raises:
        MetricUndefined: no class has one, for this `reason`.
    """
    values = [
        float(measure(label, chosen)) if len(chosen) >= least else None
        for label, chosen in enumerate(first_of_each(labels, num_classes, per_class))
    ]
    known = [value for value in values if value is not None]
    if not known:
        raise MetricUndefined(reason)
    return ByClass(sum(known) / len(known), values)


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


def class_consistency(predicted: Tensor, asked: Tensor, num_classes: int, per_class: int) -> ByClass:
    """Share of images seen (int64 N) as the class asked for, in the first `per_class` of each.

    Raises:
        MetricUndefined: no class was asked for.
    """

    def share(label: int, chosen: Tensor) -> Tensor:
        return (predicted[chosen] == label).double().mean()

    return by_class(share, asked, num_classes, per_class, least=1, reason="no generated images")
