"""Kernel distance: unbiased squared MMD, cubic kernel (Bińkowski et al. 2018, arXiv:1801.01401)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ganbench.metrics.errors import require_count


class Kid(NamedTuple):
    """Mean and population standard deviation over the subsets; the mean may be just below 0."""

    mean: float
    std: float


def kid(generated: Tensor, reference: Tensor, subsets: int, subset_size: int, seed: int) -> Kid:
    """KID of features N×D against M×D with the kernel (x·y/D + 1)³, by torch-fidelity in float64.

    Each of the `subsets` draws `subset_size` samples without replacement from either side; the
    draws follow from `seed` alone (`numpy.random.RandomState`, generated before reference).

    Raises:
        MetricUndefined: fewer samples than `subset_size` on either side.
    """
    from torch_fidelity.metric_kid import (
        KEY_METRIC_KID_MEAN,
        KEY_METRIC_KID_STD,
        kid_features_to_metric,
    )

    require_count("generated images", len(generated), subset_size)
    require_count("reference images", len(reference), subset_size)
    # torch-fidelity ignores keyword arguments it doesn't know: each of these is one it reads.
    found = kid_features_to_metric(
        generated.double(),
        reference.double(),
        kid_subsets=subsets,
        kid_subset_size=subset_size,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=seed,
        verbose=False,
    )
    return Kid(found[KEY_METRIC_KID_MEAN], found[KEY_METRIC_KID_STD])
