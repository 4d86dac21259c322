"""Inception score (Salimans et al. 2016, arXiv:1606.03498), on any classifier's logits."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from ganbench.metrics.errors import MetricUndefined, require_count


class InceptionScore(NamedTuple):
    """Mean and population standard deviation over the splits; 1 is worst, the class count best."""

    mean: float
    std: float


def inception_score(logits: Tensor, splits: int, seed: int) -> InceptionScore:
    """exp E[KL(p(y|x) ‖ p(y))] of logits N×K over `splits` parts, by torch-fidelity in float64.

    The samples are shuffled by `seed` first: a conditional generator's come ordered by class.

    Raises:
        MetricUndefined: fewer samples than splits, or a class probability so small everywhere that it
            underflows (a collapsed generator seen by a very sure classifier).
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    require_count("generated images", len(logits), splits)
    found = isc_features_to_metric(logits, splits=splits, shuffle=True, rng_seed=seed)
    score = InceptionScore(found[KEY_METRIC_ISC_MEAN], found[KEY_METRIC_ISC_STD])
    if not all(map(math.isfinite, score)):
        raise MetricUndefined("a class has probability 0 in every image of a split (collapsed generator)")
    return score
