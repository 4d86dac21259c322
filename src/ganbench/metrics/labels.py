"""Which classes a conditional generator is asked for, so that its images compare with a reference."""

from __future__ import annotations

import torch
from torch import Tensor


def reference_counts(labels: Tensor, num_classes: int, count: int) -> Tensor:
    """Images int64 K to ask of each class so that `count` have the shares of `labels`.

    Exactly the reference's counts where `count` is their number, else by largest remainder, earlier
    classes first where remainders tie.
    """
    present = torch.bincount(labels, minlength=num_classes)
    exact = present * count
    counts = exact // len(labels)
    remainder = exact % len(labels)
    short = count - int(counts.sum())
    counts[remainder.argsort(descending=True, stable=True)[:short]] += 1
    return counts


def labels_to_ask(counts: Tensor, per_class: int) -> Tensor:
    """Labels int64: `counts` of each class in order, then what each lacks to `per_class` images.

    One sampling pass so serves both the distribution metrics (the first ``counts.sum()`` images)
    and those that want equally many of each class.
    """
    classes = torch.arange(len(counts))
    lacking = (per_class - counts).clamp(min=0)
    return torch.cat([classes.repeat_interleave(counts), classes.repeat_interleave(lacking)])
