"""Real images as an extractor sees them, and what metrics derive from them, found once."""

from __future__ import annotations

import hashlib
import logging
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


class Reference:
    """One set of real images under one extractor.

    Everything that depends on nothing else is computed when first asked for and kept in `cache`
    under the hashes of the images and of the extractor's weights.
    """

    def __init__(
        self,
        images: Split,
        extractor: Extractor,
        dataset: str = "",
        split: str = "",
        batch_size: int = 500,
        cache: Cache | None = None,
    ) -> None:
        """`dataset` and `split` are what records call these images."""
        self.images = images
        self.dataset = dataset
        self.split = split
        self._extractor = extractor
        self._batch_size = batch_size
        self._radii: dict[int, Tensor] = {}
        self._cache = cache or Cache()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sha256(self) -> str:
        """Hash of the images and labels."""
        return self.images.sha256

    def describe(self) -> dict[str, Any]:
        """The protocol's words for these images."""
        size = self.images.images.shape[-1]
        return {
            "dataset": self.dataset,
            "split": self.split,
            "count": len(self),
            "sha256": self.sha256,
            # Not said of the usual size, so that scores from before it was said stay comparable.
            **({} if size == JUDGE_SIZE else {"image_size": size}),
        }

    @cached_property
    def seen(self) -> Features:
        """Features and logits of every image."""

        def compute() -> Tensors:
            log.info("features of %s real images, once for all runs", f"{len(self.images):,}")
            found = self._extractor(self.images.images, self._batch_size)
            return {"features": found.features, "logits": found.logits}

        return Features(**self._kept("features", {}, compute))

    @property
    def features(self) -> Tensor:
        """Features float32 M×D."""
        return self.seen.features

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and covariance of the features."""

        def compute() -> Tensors:
            fitted = statistics(self.features)
            return {"mean": fitted.mean, "covariance": fitted.covariance}

        return Statistics(**self._kept("statistics", {}, compute))

    @cached_property
    def spacing(self) -> Tensor:
        """Distance float64 M of each image to the nearest other."""

        def compute() -> Tensors:
            return {"distance": neighbours.nearest_other(self.features).distance}

        return self._kept("spacing", {}, compute)["distance"]

    def radii(self, k: int) -> Tensor:
        """Distance float64 M of each image to its k-th nearest other; needs more than k images."""

        def compute() -> Tensors:
            return {"distance": neighbours.radii(self.features, k)}

        if k not in self._radii:
            self._radii[k] = self._kept("radii", {"k": k}, compute)["distance"]
        return self._radii[k]

    def _kept(self, kind: str, extra: dict[str, Any], compute: Any) -> Tensors:
        key = {"images": self._images_sha256, "extractor": self._extractor.sha256, **extra}
        return self._cache.fetch(kind, key, compute)

    @cached_property
    def _images_sha256(self) -> str:
        # Shape included: the same bytes at another width are other images.
        shape = tuple(self.images.images.shape)
        return hashlib.sha256(f"{self.sha256} {shape}".encode()).hexdigest()


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
