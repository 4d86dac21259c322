"""How real images score against real images: what a perfect generator would get."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ganbench.data import Dataset, Split
from ganbench.metrics.cache import Cache
from ganbench.metrics.features import Extractor
from ganbench.metrics.memorisation import train_closer
from ganbench.metrics.neighbours import nearest
from ganbench.metrics.protocol import TRAIN_HALVES, TRAIN_TEST, EvalSettings
from ganbench.metrics.reference import Reference, chosen, halves
from ganbench.metrics.scoring import score_images


def floors(
    dataset: Dataset, extractor: Extractor, settings: EvalSettings, cache: Cache | None = None
) -> list[dict[str, Any]]:
    """Two score records: train images against test, and one half of train against the other.

    ``settings.num_samples`` images by seeded choice against the whole test split, as generators are
    scored; as many a side, at most half the train split, in the second. The records are those of
    ``scores.json`` with ``when`` "floor" and ``floor`` naming which. Training images being their own
    neighbours, `train_closer` is what images that the train split doesn't hold get: in the first record the
    test images against all of train, in the second one half against the other.
    """
    cache = cache or Cache()

    def seen(images: Split, split: str) -> Reference:
        return Reference(images, extractor, dataset.name, split, settings.batch_size, cache)

    count, seed = settings.num_samples, settings.seed
    train, test = chosen(dataset.train, count, seed), seen(dataset.test, "test")
    first, second = (seen(half, "train") for half in halves(dataset.train, count, seed))
    return [
        _floor(TRAIN_TEST, train, test, test, seen(dataset.train, "train"), settings, extractor),
        _floor(TRAIN_HALVES, first.images, second, first, second, settings, extractor),
    ]


def _floor(
    name: str,
    given: Split,
    against: Reference,
    fresh: Reference,
    train: Reference,
    settings: EvalSettings,
    extractor: Extractor,
) -> dict[str, Any]:
    """Score of `given` against `against`, with the nearness of `fresh` images to those of `train`."""
    known = tuple(name for name in settings.metrics if name != "memorisation")
    settings = replace(settings, num_samples=len(given), metrics=known)
    scores = score_images(given.images, against, extractor, settings, given.labels)
    scores.values["train_closer"] = train_closer(nearest(fresh.features, train.features), train.spacing)
    protocol = settings.protocol(extractor.sha256, against.describe())
    return scores.record({"when": "floor", "floor": name}, protocol, settings.batch_size)
