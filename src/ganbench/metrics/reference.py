"""Real images as an extractor sees them, and what metrics derive from them, found once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ganbench.data import Split
from ganbench.metrics import neighbours
from ganbench.metrics.cache import Cache, Tensors
from ganbench.metrics.features import Extractor, Features
from ganbench.metrics.fid import Statistics, statistics
from ganbench.metrics.protocol import JUDGE_SIZE

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Reference:
    """One set of real images under one extractor; `dataset` and `split` are what records call them.

    Everything that depends on nothing else is computed when first asked for and kept in `cache`
    under the hashes of the images and of the extractor's weights.
    """

    images: Split
    extractor: Extractor
    dataset: str = ""
    split: str = ""
    batch_size: int = 500
    cache: Cache = field(default_factory=Cache)

    def __post_init__(self) -> None:
        self._radii: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.images)

    def describe(self) -> dict[str, Any]:
        """The protocol's words for these images."""
        size = self.images.images.shape[-1]
        return {
            "dataset": self.dataset,
            "split": self.split,
            "count": len(self),
            "sha256": self.images.sha256,
            # Not said of the usual size, so that scores from before it was said stay comparable.
            **({} if size == JUDGE_SIZE else {"image_size": size}),
        }

    @cached_property
    def seen(self) -> Features:
        """Features and logits of every image."""
        return Features(**self._kept("features", self._extract))

    def _extract(self) -> Tensors:
        log.info("features of %s real images, once for all runs", f"{len(self):,}")
        return vars(self.extractor(self.images.images, self.batch_size))

    @property
    def features(self) -> Tensor:
        """Features float32 M×D."""
        return self.seen.features

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and covariance of the features."""
        return Statistics(**self._kept("statistics", lambda: vars(statistics(self.features))))

    @cached_property
    def spacing(self) -> Tensor:
        """Distance float64 M of each image to the nearest other."""
        found = self._kept("spacing", lambda: {"distance": neighbours.nearest_other(self.features).distance})
        return found["distance"]

    def radii(self, k: int) -> Tensor:
        """Distance float64 M of each image to its k-th nearest other; needs more than k images."""
        if k not in self._radii:
            found = self._kept("radii", lambda: {"distance": neighbours.radii(self.features, k)}, k=k)
            self._radii[k] = found["distance"]
        return self._radii[k]

    def _kept(self, kind: str, compute: Callable[[], Tensors], **further: int) -> Tensors:
        # Shape included: the same bytes at another width are other images.
        images = f"{self.images.sha256} {tuple(self.images.images.shape)}"
        sha256 = hashlib.sha256(images.encode()).hexdigest()
        key = {"images": sha256, "extractor": self.extractor.sha256, **further}
        return self.cache.fetch(kind, key, compute)


def chosen(split: Split, count: int, seed: int) -> Split:
    """`count` images of `split` by seeded choice, in stored order; all of them if fewer."""
    if count >= len(split):
        return split
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))[:count]
    return split[order.sort().values]


def halves(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """Two disjoint seeded choices of `count` images, of half of `split` where that is fewer."""
    count = min(count, len(split) // 2)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed))
    first, second = order[:count].sort().values, order[count : 2 * count].sort().values
    return split[first], split[second]
