"""Every metric against an implementation in float64 numpy and scipy that shares no code with it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from scipy.spatial.distance import cdist
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from ganbench.metrics import neighbours
from ganbench.metrics.density_coverage import density_coverage
from ganbench.metrics.fid import fid, statistics
from ganbench.metrics.inception_score import inception_score
from ganbench.metrics.kid import kid
from ganbench.metrics.precision_recall import precision_recall

RELATIVE = 1e-6


@pytest.fixture(params=[(400, 350, 16), (40, 50, 64)], ids=["tall", "fewer images than features"])
def features(request):
    """Generated and real features float32, rectified like a network's."""
    n, m, width = request.param
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(width, width)) / np.sqrt(width)
    generated = np.maximum(rng.normal(0.2, 1.1, (n, width)) @ mixing, 0).astype(np.float32)
    real = np.maximum(rng.normal(0.0, 1.0, (m, width)) @ mixing, 0).astype(np.float32)
    return generated, real


def independent_fid(generated, real):
    """tr (Σ₁Σ₂)^½ as the sum of the singular values of Σ₁^½ Σ₂^½."""
    a, b = generated.astype(np.float64), real.astype(np.float64)
    # The centred data over √(n-1) is a root of the covariance: no matrix root, no complex numbers.
    root_a = (a - a.mean(0)) / np.sqrt(len(a) - 1)
    root_b = (b - b.mean(0)) / np.sqrt(len(b) - 1)
    cross = scipy.linalg.svdvals(root_a @ root_b.T).sum()
    shift = np.square(a.mean(0) - b.mean(0)).sum()
    return shift + np.square(root_a).sum() + np.square(root_b).sum() - 2 * cross


def independent_kid(generated, real, subsets, size, seed):
    rng = np.random.RandomState(seed)
    found = []
    for _ in range(subsets):
        x = generated[rng.choice(len(generated), size, replace=False)].astype(np.float64)
        y = real[rng.choice(len(real), size, replace=False)].astype(np.float64)
        off = ~np.eye(size, dtype=bool)
        kernel = [np.power(u @ v.T / x.shape[1] + 1, 3) for u, v in ((x, x), (y, y), (x, y))]
        found.append(kernel[0][off].mean() + kernel[1][off].mean() - 2 * kernel[2].mean())
    return np.mean(found), np.std(found)


def independent_inception_score(logits, splits, seed):
    order = np.random.RandomState(seed).permutation(len(logits))
    p = scipy.special.softmax(logits[order].astype(np.float64), axis=1)
    bounds = [i * len(p) // splits for i in range(splits + 1)]
    found = []
    for start, stop in pairwise(bounds):
        part = p[start:stop]
        kl = scipy.special.rel_entr(part, part.mean(0)).sum(1).mean()
        found.append(np.exp(kl))
    return np.mean(found), np.std(found)


def ball_radii(points, k):
    distance = cdist(points, points)
    np.fill_diagonal(distance, np.inf)
    return np.sort(distance, axis=1)[:, k - 1]


def independent_precision_recall(generated, real, k):
    a, b = generated.astype(np.float64), real.astype(np.float64)
    between = cdist(a, b)
    precision = (between <= ball_radii(b, k)).any(axis=1).mean()
    recall = (ball_radii(a, k) >= between.T).any(axis=1).mean()
    return precision, recall


def independent_density_coverage(generated, real, k):
    a, b = generated.astype(np.float64), real.astype(np.float64)
    inside = cdist(b, a) < ball_radii(b, k)[:, None]
    return inside.sum(axis=0).mean() / k, inside.any(axis=1).mean()


def test_fid_agrees(features):
    ours = fid(*(statistics(torch.from_numpy(side)) for side in features))
    assert ours == pytest.approx(independent_fid(*features), rel=RELATIVE)


def test_kid_agrees_on_the_same_subsets(features):
    ours = kid(*map(torch.from_numpy, features), subsets=7, subset_size=30, seed=5)
    assert ours == pytest.approx(independent_kid(*features, 7, 30, 5), rel=RELATIVE)


def test_kid_is_that_of_torch_fidelity(features):
    pair = [torch.from_numpy(side) for side in features]
    theirs = kid_features_to_metric(
        *(side.double() for side in pair),
        kid_subsets=7,
        kid_subset_size=30,
        kid_kernel="poly",
        kid_kernel_poly_degree=3,
        kid_kernel_poly_gamma=None,
        kid_kernel_poly_coef0=1,
        rng_seed=5,
        verbose=False,
    )
    names = ("kernel_inception_distance_mean", "kernel_inception_distance_std")
    assert kid(*pair, 7, 30, 5) == pytest.approx([theirs[name] for name in names], rel=RELATIVE)


def test_kid_subsets_follow_the_seed(features):
    pair = [torch.from_numpy(side) for side in features]
    first, second = (kid(*pair, subsets=2, subset_size=20, seed=seed).mean for seed in (1, 2))
    assert first != pytest.approx(second, rel=1e-3)


@pytest.mark.parametrize("splits", [1, 3, 10])
def test_inception_score_agrees(features, splits):
    logits = 4 * features[0][:, :10]
    ours = inception_score(torch.from_numpy(logits), splits, seed=5)
    expected = independent_inception_score(logits, splits, 5)
    assert ours == pytest.approx(expected, rel=RELATIVE, abs=1e-12)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_agree(features, k):
    ours = precision_recall(*map(torch.from_numpy, features), k)
    expected = independent_precision_recall(*features, k)
    assert min(expected) > 0
    assert max(expected) < 1
    assert ours == pytest.approx(expected, rel=RELATIVE)


def test_precision_and_recall_in_blocks_are_those_of_torch_fidelity(features, monkeypatch):
    pair = [torch.from_numpy(side) for side in features]
    monkeypatch.setattr(neighbours, "BLOCK_ELEMENTS", 7 * len(pair[0]))
    theirs = prc_features_to_metric(
        *(side.double() for side in pair), prc_neighborhood=3, save_cpu_ram=True, verbose=False
    )
    assert precision_recall(*pair, 3) == pytest.approx((theirs["precision"], theirs["recall"]), rel=RELATIVE)


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_agree(features, k):
    ours = density_coverage(*map(torch.from_numpy, features), k)
    expected = independent_density_coverage(*features, k)
    assert 0 < expected[1] < 1
    assert ours == pytest.approx(expected, rel=RELATIVE)


def test_nothing_is_printed(features, capfd):
    pair = [torch.from_numpy(side) for side in features]
    fid(*map(statistics, pair))
    kid(*pair, subsets=2, subset_size=20, seed=0)
    inception_score(pair[0][:, :10], 2, seed=0)
    precision_recall(*pair, 3)
    assert capfd.readouterr() == ("", "")
