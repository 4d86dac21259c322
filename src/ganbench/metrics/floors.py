"""How real images score against real images: what a perfect generator would get."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ganbench.data import Dataset, Split
from ganbench.metrics.cache import Cache
from ganbench.metrics.features import Extractor
from ganbench.metrics.protocol import SCHEMA, EvalSettings, now, versions
from ganbench.metrics.reference import Reference, chosen, halves
from ganbench.metrics.scoring import score_images

TRAIN_TEST = "train-test"
TRAIN_HALVES = "train-halves"


def floors(
    dataset: Dataset, extractor: Extractor, settings: EvalSettings, cache: Cache | None = None
) -> list[dict[str, Any]]:
    """Two score records: train images against test, and one half of train against the other.

    ``settings.num_samples`` images a side by seeded choice (at most half the train split in the
    second). The records are those of ``scores.json`` with ``when`` "floor" and ``floor`` naming
    which. Memorisation is left out: training images are their own neighbours.
    """
    cache = cache or Cache()
    settings = replace(
        settings, metrics=tuple(name for name in settings.metrics if name != "memorisation")
    )
    train = chosen(dataset.train, settings.num_samples, settings.seed)
    test = chosen(dataset.test, settings.num_samples, settings.seed)
    first, second = halves(dataset.train, settings.num_samples, settings.seed)
    return [
        _floor(TRAIN_TEST, train, test, "test", dataset, extractor, settings, cache),
        _floor(TRAIN_HALVES, first, second, "train", dataset, extractor, settings, cache),
    ]


def _floor(
    name: str,
    given: Split,
    against: Split,
    split: str,
    dataset: Dataset,
    extractor: Extractor,
    settings: EvalSettings,
    cache: Cache,
) -> dict[str, Any]:
    settings = replace(settings, num_samples=len(given))
    reference = Reference(against, extractor, dataset.name, split, settings.batch_size, cache)
    scores = score_images(given.images, reference, extractor, settings, given.labels)
    return {
        "schema": SCHEMA,
        "when": "floor",
        "floor": name,
        "protocol": settings.protocol(extractor.sha256, reference.describe()),
        **scores.parts(),
        "batch_size": settings.batch_size,
        "seconds": {"sampling": 0.0, **scores.seconds},
        "versions": versions(),
        "created_at": now(),
    }
