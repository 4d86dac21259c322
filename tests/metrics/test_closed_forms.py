"""Each metric where its value is known."""

from __future__ import annotations

import math

import pytest
import torch

from ganbench.metrics import classes, diversity, memorisation, neighbours
from ganbench.metrics.density_coverage import density_coverage
from ganbench.metrics.errors import MetricUndefined
from ganbench.metrics.fid import Statistics, fid, statistics
from ganbench.metrics.inception_score import inception_score
from ganbench.metrics.kid import kid
from ganbench.metrics.precision_recall import precision_recall


def normal(count, width, seed=0):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_fid_of_a_shift_is_its_squared_length():
    x = normal(200, 6).double()
    shift = torch.tensor([3.0, 0, -4, 0, 0, 0], dtype=torch.float64)
    assert fid(statistics(x + shift), statistics(x)) == pytest.approx(25, rel=1e-9)


def test_fid_of_a_scaling():
    x = normal(200, 6).double()
    x = x - x.mean(0)
    expected = 0.25 * torch.cov(x.T).trace()  # tr(Σ + (9/4)Σ - 2 (3/2) Σ)
    assert fid(statistics(1.5 * x), statistics(x)) == pytest.approx(float(expected), rel=1e-9)


def test_fid_of_equal_images_is_zero():
    fitted = statistics(normal(50, 64))
    assert fid(fitted, fitted) == pytest.approx(0, abs=1e-5)


def test_statistics_are_float64():
    fitted = statistics(normal(50, 4))
    assert (fitted.mean.dtype, fitted.covariance.dtype) == (torch.float64, torch.float64)


def test_fid_without_a_value():
    with pytest.raises(MetricUndefined, match="at least 2 images, has 1"):
        statistics(normal(1, 4))
    broken = Statistics(torch.full((2,), math.nan), torch.eye(2))
    with pytest.raises(MetricUndefined, match="NaN"):
        fid(broken, broken)


def test_kid_of_two_points():
    x = torch.tensor([1.0, 2.0]).expand(5, 2)
    y = torch.tensor([3.0, -1.0]).expand(5, 2)

    def kernel(dot):
        return (dot / 2 + 1) ** 3

    expected = kernel(5) + kernel(10) - 2 * kernel(1)
    assert kid(x, y, subsets=3, subset_size=4, seed=0) == pytest.approx((expected, 0), rel=1e-12)


@pytest.mark.parametrize(("n", "m", "side"), [(4, 9, "generated"), (9, 4, "reference")])
def test_kid_below_its_subset_size(n, m, side):
    with pytest.raises(MetricUndefined, match=f"at least 5 {side} images, has 4"):
        kid(normal(n, 2), normal(m, 2), subsets=1, subset_size=5, seed=0)


def test_inception_score_spans_one_to_the_class_count():
    sure = 200.0 * torch.eye(4).repeat(25, 1)
    assert inception_score(sure, 1, seed=0) == pytest.approx((4, 0), rel=1e-9)
    same = torch.tensor([[1.0, 0, 0, 0]]).repeat(100, 1)
    assert inception_score(same, 5, seed=0) == pytest.approx((1, 0), rel=1e-9, abs=1e-9)


def test_inception_score_without_a_value():
    with pytest.raises(MetricUndefined, match="at least 10 generated images, has 9"):
        inception_score(normal(9, 4), 10, seed=0)
    with pytest.raises(MetricUndefined, match="collapsed"):
        inception_score(torch.tensor([[2000.0, 0.0]]).repeat(8, 1), 2, seed=0)


def test_precision_and_recall_of_equal_and_of_distant_sets():
    x = normal(60, 3)
    assert precision_recall(x, x, 3) == (1, 1)
    assert precision_recall(x, x + 100, 3) == (0, 0)


def test_one_of_two_modes_is_precise_with_half_the_recall():
    one, two = normal(50, 3), normal(50, 3, seed=1) + 100
    found = precision_recall(one, torch.cat([one, two]), 3)
    assert found == pytest.approx((1, 0.5), abs=1e-7)


def test_precision_needs_a_kth_neighbour():
    with pytest.raises(MetricUndefined, match="at least 4 generated images, has 3"):
        precision_recall(normal(3, 2), normal(9, 2), 3)
    with pytest.raises(MetricUndefined, match="at least 4 reference images, has 3"):
        precision_recall(normal(9, 2), normal(3, 2), 3)


def test_density_and_coverage_of_equal_and_of_distant_sets():
    x = normal(60, 3)
    # Each ball holds its centre and the k - 1 nearer neighbours: k in all.
    assert density_coverage(x, x, 5) == pytest.approx((1, 1), rel=1e-12)
    assert density_coverage(x + 100, x, 5) == (0, 0)


def test_density_counts_what_precision_does_not():
    real = torch.arange(10.0)[:, None]
    generated = torch.full((4, 1), 4.5)
    # With k = 2 a ball reaches 1 (2 at the ends): those around 4 and 5 hold the four images.
    assert density_coverage(generated, real, 2) == pytest.approx((1, 0.2), rel=1e-12)


def test_density_needs_a_kth_neighbour():
    with pytest.raises(MetricUndefined, match="at least 6 reference images, has 5"):
        density_coverage(normal(9, 2), normal(5, 2), 5)


def test_neighbours_match_brute_force_across_blocks(monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK_ELEMENTS", 100)  # three rows at once
    x, y = normal(31, 4), normal(29, 4, seed=1)
    between = (x[:, None].double() - y[None].double()).norm(dim=-1)
    within = (x[:, None].double() - x[None].double()).norm(dim=-1)
    within.fill_diagonal_(torch.inf)
    found = neighbours.nearest(x, y)
    assert torch.equal(found.position, between.argmin(1))
    torch.testing.assert_close(found.distance, between.min(1).values, rtol=1e-12, atol=0)
    other = neighbours.nearest_other(x)
    assert torch.equal(other.position, within.argmin(1))
    third = within.sort(dim=1).values[:, 2]
    torch.testing.assert_close(neighbours.radii(x, 3), third, rtol=1e-9, atol=0)


def test_blocks_cover_every_query_once():
    for queries, points in ((0, 5), (7, 3), (5, 10**9)):
        covered = [i for rows in neighbours.blocks(queries, points) for i in range(queries)[rows]]
        assert covered == list(range(queries))


def test_histogram_and_its_kl():
    even = classes.class_histogram(torch.arange(30) % 10, 10)
    assert torch.equal(even, torch.full((10,), 0.1, dtype=torch.float64))
    assert classes.histogram_kl(even, even) == 0
    one = classes.class_histogram(torch.zeros(7, dtype=torch.int64), 10)
    assert classes.histogram_kl(one, even) == pytest.approx(math.log(10), rel=1e-12)
    dropped = classes.class_histogram(torch.arange(9), 10)
    assert classes.histogram_kl(dropped, even) == pytest.approx(math.log(10 / 9), rel=1e-12)
    with pytest.raises(MetricUndefined, match=r"classes \[1, 2, 3"):
        classes.histogram_kl(even, one)


def test_consistency_counts_the_first_of_each_class():
    asked = torch.tensor([0, 0, 0, 1, 1, 0])
    seen = torch.tensor([0, 1, 0, 1, 1, 1])
    found = classes.class_consistency(seen, asked, 3, per_class=3)
    assert found.per_class == [pytest.approx(2 / 3), 1.0, None]
    assert found.overall == pytest.approx(5 / 6, rel=1e-12)
    with pytest.raises(MetricUndefined):
        classes.class_consistency(seen[:0], asked[:0], 3, per_class=3)


def test_pixel_std_of_black_and_white_is_one_half():
    grey = torch.tensor([0, 255, 0, 255, 9], dtype=torch.uint8)
    images = grey.view(5, 1, 1, 1).expand(5, 1, 2, 2)
    found = diversity.pixel_std(images, torch.tensor([0, 0, 0, 0, 1]), 2, per_class=4)
    assert found.per_class == [pytest.approx(0.5, rel=1e-12), None]
    assert found.overall == pytest.approx(0.5, rel=1e-12)
    with pytest.raises(MetricUndefined, match="two generated images"):
        diversity.pixel_std(images[4:], torch.tensor([1]), 2, per_class=4)


def test_feature_distance_is_the_mean_over_pairs():
    features = torch.tensor([[0.0, 0], [3, 4], [0, 0], [1, 1], [1, 1]])
    found = diversity.feature_distance(features, torch.tensor([0, 0, 0, 1, 1]), 2, per_class=3)
    assert found.per_class == [pytest.approx(10 / 3, rel=1e-12), 0.0]
    assert found.overall == pytest.approx(5 / 3, rel=1e-12)


@pytest.mark.parametrize(("width", "expected"), [(1, 2 / 3), (2, 0.6215)])
def test_train_closer_of_fresh_images_is_the_share_of_mutual_neighbours(width, expected):
    random = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(10):
        train, fresh = (torch.rand(n, width, generator=random) for n in (1000, 2000))
        found = neighbours.nearest(fresh, train)
        spacing = neighbours.nearest_other(train).distance
        shares.append(memorisation.train_closer(found, spacing))
    # Ten draws of standard deviation 0.012 each, by measurement.
    assert sum(shares) / 10 == pytest.approx(expected, abs=0.015)


def test_copies_are_closer_and_distant_images_are_not():
    train = normal(50, 4)
    spacing = neighbours.nearest_other(train).distance
    assert memorisation.train_closer(neighbours.nearest(train[:20], train), spacing) == 1
    assert memorisation.train_closer(neighbours.nearest(train + 50, train), spacing) == 0


def test_closest_pairs_come_in_order():
    train = torch.tensor([[0.0], [10.0], [20.0]])
    generated = torch.tensor([[3.0], [20.5], [11.0]])
    positions, partners = memorisation.closest_pairs(generated, train, 2)
    assert (positions.tolist(), partners.tolist()) == ([1, 2], [2, 1])
