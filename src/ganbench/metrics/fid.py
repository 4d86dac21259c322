"""Fréchet distance of Gaussians fitted to features (Heusel et al. 2017, arXiv:1706.08500)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, from_numpy

from ganbench.metrics.errors import MetricUndefined, require_count


@dataclass(frozen=True)
class Statistics:
    """Mean float64 D and unbiased covariance float64 D×D of one set of features."""

    mean: Tensor
    covariance: Tensor


def statistics(features: Tensor) -> Statistics:
    """Fit a Gaussian to features N×D, in float64.

    Raises:
        MetricUndefined: fewer than two samples.
    """
    from torch_fidelity.metric_fid import fid_features_to_statistics

    require_count("images", len(features), 2)
    # torch-fidelity keeps the input's precision for the mean, so the cast has to come first.
    fitted = fid_features_to_statistics(features.double())
    return Statistics(from_numpy(fitted["mu"]), from_numpy(fitted["sigma"]))


def fid(generated: Statistics, reference: Statistics) -> float:
    """Fréchet distance, 0 for equal Gaussians; a tiny negative value is rounding.

    Computed by torch-fidelity: ‖μ₁-μ₂‖² + tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½), the last trace by eigenvalues.

    Raises:
        MetricUndefined: the statistics hold NaN or inf.
    """
    import numpy as np
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    fitted = [{"mu": side.mean.numpy(), "sigma": side.covariance.numpy()} for side in (generated, reference)]
    if not all(np.isfinite(array).all() for side in fitted for array in side.values()):
        raise MetricUndefined("the features hold NaN or inf")
    return float(fid_statistics_to_metric(*fitted, verbose=False)[KEY_METRIC_FID])
