"""Verdicts against closed forms, another implementation, and simulated worlds with a known truth."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import synthetic_runs as synthetic
from scipy import stats

from ganbench.report import verdicts
from ganbench.report.blocks import blocks
from ganbench.report.comparison import Options, Report, compare
from ganbench.report.export import tables_csv, to_json
from ganbench.report.html import to_html
from ganbench.report.render import to_latex, to_markdown, to_text
from ganbench.report.verdicts import (
    bootstrap_interval,
    holm,
    judge_pairs,
    permutation_test,
    seeds_needed,
    smallest_p,
    t_quantile,
    welch_interval,
)


def seeded(values: list[float]) -> dict[int, float]:
    return dict(enumerate(values))


@pytest.mark.parametrize("degrees", [1, 2, 5, 17, 30, 31, 45, 100, 1000])
def test_t_quantile_is_students(degrees: int) -> None:
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


def test_t_quantile_rounds_down_and_refuses_less_than_one() -> None:
    assert t_quantile(4.9) == t_quantile(4)
    with pytest.raises(ValueError, match=r"degrees=0\.5"):
        t_quantile(0.5)


def test_welch_interval_is_scipys_with_degrees_rounded_down() -> None:
    a, b = [1.0, 2.0, 3.5, 2.2], [4.0, 4.5, 3.9, 5.5, 6.0]
    low, high = welch_interval(a, b)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert low <= expected.low and high >= expected.high  # rounding down widens
    assert (low, high) == pytest.approx((expected.low, expected.high), rel=0.05)


def test_welch_interval_without_spread_is_a_point() -> None:
    assert welch_interval([2.0, 2.0], [5.0, 5.0]) == (-3.0, -3.0)


@pytest.mark.parametrize(
    ("n", "expected"), [(3, 2 / 8), (4, 2 / 16), (5, 2 / 32), (6, 2 / 64), (10, 2 / 1024)]
)
def test_paired_test_of_separated_seeds_reaches_its_least_p(n: int, expected: float) -> None:
    a = [10.0 + 0.1 * i for i in range(n)]
    b = [20.0 + 0.3 * i for i in range(n)]
    assert permutation_test(a, b, paired=True) == (pytest.approx(expected), True)
    assert smallest_p(n, n, paired=True) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (4, 4), (5, 5), (3, 5), (6, 6)])
def test_unpaired_test_of_separated_seeds_reaches_its_least_p(n: int, m: int) -> None:
    a = [1.0 + 0.01 * i for i in range(n)]
    b = [9.0 + 0.01 * i for i in range(m)]
    expected = (2 if n == m else 1) / math.comb(n + m, n)
    assert permutation_test(a, b, paired=False)[0] == pytest.approx(expected)
    assert smallest_p(n, m, paired=False) == pytest.approx(expected)


def welch(x: np.ndarray, y: np.ndarray) -> float:
    return abs(stats.ttest_ind(x, y, equal_var=False).statistic)


def mean_difference(x: np.ndarray, y: np.ndarray) -> float:
    return abs(np.mean(x) - np.mean(y))


@pytest.mark.parametrize(
    ("paired", "statistic", "n"), [(True, mean_difference, 6), (False, mean_difference, 6), (False, welch, 4)]
)
def test_permutation_p_is_scipys_exact_one(paired: bool, statistic: object, n: int) -> None:
    """Unpaired it is that of Welch's t, with as many on both sides that of the difference as well."""
    rng = np.random.default_rng(1)
    for _ in range(3):
        a, b = rng.normal(0, 2, size=n), rng.normal(0.5, size=6)
        expected = stats.permutation_test(
            (a, b),
            statistic,
            permutation_type="samples" if paired else "independent",
            alternative="greater",
            n_resamples=np.inf,
        ).pvalue
        assert permutation_test(a, b, paired)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ([2.0] * 3, [2.0] * 5, 1.0),  # 0 / 0 in every arrangement
        ([1.0] * 3, [2.0] * 5, 1 / 56),  # infinite, as no other arrangement is
        ([1.0] * 3, [2.0] * 3, 2 / 20),  # and its mirror image
        ([0.1] * 3, [0.1 + 1e-3] * 3, 2 / 20),
        ([1.0, 1.0, 2.0], [1.0, 2.0, 2.0, 1.0, 2.0], 1.0),  # no arrangement is less extreme
        ([1.0, 2.0, 3.0], [2.0] * 5, 1.0),
        ([1e200, 2e200, 3e200], [7e200, 8e200, 9e200], 2 / 20),
        ([1e-200, 2e-200, 3e-200], [7e-200, 8e-200, 9e-200], 2 / 20),
    ],
)
def test_unpaired_p_of_values_without_variance_and_far_out(
    a: list[float], b: list[float], expected: float
) -> None:
    assert permutation_test(a, b, paired=False)[0] == pytest.approx(expected)
    assert permutation_test(b, a, paired=False)[0] == pytest.approx(expected)


def test_permutation_p_of_equal_sides_is_one() -> None:
    assert permutation_test([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], paired=True)[0] == 1.0
    assert permutation_test([1.0, 2.0, 3.0], [3.0, 1.0, 2.0], paired=False)[0] == 1.0


def test_permutation_p_does_not_depend_on_rounding() -> None:
    # 0.1 + 0.2 is not 0.3: equal differences in other units must count as equal.
    a, b = [0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.1, 0.2]
    scaled = permutation_test([1e9 * x for x in a], [1e9 * x for x in b], paired=True)
    assert permutation_test(a, b, paired=True) == scaled == (1.0, True)


def test_many_seeds_are_drawn_and_never_give_zero() -> None:
    a, b = list(np.linspace(0, 1, 200)), list(np.linspace(5, 6, 200))
    for paired in (True, False):
        p, exact = permutation_test(a, b, paired)
        assert not exact
        assert p == pytest.approx(1 / verdicts.DRAWS)


def test_drawn_p_agrees_with_the_exact_one() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=9), rng.normal(0.8, size=9)
    exact, is_exact = permutation_test(a, b, paired=False)
    assert is_exact
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verdicts, "MAX_EXACT", 100)
        verdicts._deals.cache_clear()
        drawn, is_exact = permutation_test(a, b, paired=False)
    verdicts._deals.cache_clear()
    assert not is_exact
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / verdicts.DRAWS))


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_seeds_needed_is_the_first_that_suffices() -> None:
    assert (seeds_needed(1, paired=True), seeds_needed(1, paired=False)) == (6, 4)
    for pairs, paired in itertools.product((1, 5, 15, 66), (True, False)):
        n = seeds_needed(pairs, paired)
        assert n is not None
        assert smallest_p(n, n, paired) * pairs <= 0.05
        assert n == 3 or smallest_p(n - 1, n - 1, paired) * pairs > 0.05


def test_no_number_of_seeds_is_enough_for_a_thousand_comparisons() -> None:
    assert seeds_needed(1225, paired=True) is None and seeds_needed(1225, paired=False) is None


def test_drawn_rearrangements_bound_p_from_below() -> None:
    assert smallest_p(40, 40, paired=False) == smallest_p(40, 40, paired=True) == 1 / verdicts.DRAWS


def test_six_paired_seeds_far_apart_are_better_and_worse() -> None:
    values = {"a": seeded([10, 11, 10, 12, 10, 11]), "b": seeded([20, 22, 21, 20, 23, 21])}
    (verdict,) = judge_pairs([("a", "b")], values, lower_is_better=True)
    assert verdict.outcome == "better"
    assert verdict.paired
    assert verdict.difference == pytest.approx(64 / 6 - 127 / 6)
    assert verdict.low is not None and verdict.high is not None
    assert verdict.low < verdict.difference < verdict.high < 0
    (verdict,) = judge_pairs([("a", "b")], values, lower_is_better=False)
    assert verdict.outcome == "worse"


def test_five_paired_seeds_cannot_decide_and_say_so() -> None:
    values = {"a": seeded([10.0, 10.1, 10.2, 10.3, 10.4]), "b": seeded([50.0, 51.0, 52.0, 53.0, 54.0])}
    (verdict,) = judge_pairs([("a", "b")], values, lower_is_better=True)
    assert verdict.outcome == "no evidence"
    assert verdict.p == verdict.smallest_p == pytest.approx(2 / 32)
    assert not verdict.could_decide
    (verdict,) = judge_pairs([("a", "b")], values, lower_is_better=True, allow_paired=False)
    assert verdict.outcome == "better"
    assert verdict.p == pytest.approx(2 / 252)


def test_other_seeds_are_not_paired() -> None:
    values = {"a": {0: 1.0, 1: 2.0, 2: 3.0}, "b": {5: 1.0, 6: 2.0, 7: 3.0}}
    (verdict,) = judge_pairs([("a", "b")], values, lower_is_better=True)
    assert not verdict.paired


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_seeds_never_have_a_p_value(n: int) -> None:
    values = {"a": seeded([1.0] * n), "b": seeded([9.0, 9.1, 9.2, 9.3])}
    (verdict,) = judge_pairs([("a", "b")], values, lower_is_better=True)
    assert verdict.outcome == "too few seeds"
    assert verdict.p is verdict.p_holm is verdict.low is verdict.smallest_p is None


def test_pairs_with_too_few_seeds_do_not_weigh_on_the_others() -> None:
    values = {
        "a": seeded([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]),
        "b": seeded([5.0, 5.1, 5.3, 5.6, 5.2, 5.9]),
        "c": seeded([7.0]),
    }
    alone = judge_pairs([("a", "b")], values, True)[0]
    together = judge_pairs([("a", "b"), ("a", "c"), ("b", "c")], values, True)[0]
    assert together == alone


def test_least_reachable_p_is_what_the_best_data_reach() -> None:
    n = 6
    levels = {"a": 1, "b": 5, "c": 9}
    values = {name: seeded([level + 0.01 * i**2 for i in range(n)]) for name, level in levels.items()}
    found = judge_pairs([("a", "b"), ("a", "c"), ("b", "c")], values, True)
    assert [v.p_holm for v in found] == [v.smallest_p for v in found] == pytest.approx([3 * 2 / 64] * 3)


@pytest.mark.parametrize(("paired", "n", "size"), [(False, 5, 12 / 252), (True, 8, 12 / 256)])
def test_false_positive_rate_is_the_tests_exact_size(paired: bool, n: int, size: float) -> None:
    """Two recipes without a difference, 1,500 times: rejected at 5 % as often as the exact test may.

    `size` is the largest attainable level below 0.05; tolerance four standard errors.
    """
    rng = np.random.default_rng(11)
    worlds = 1500
    rejected = sum(
        permutation_test(rng.lognormal(size=n), rng.lognormal(size=n), paired)[0] <= 0.05
        for _ in range(worlds)
    )
    error = math.sqrt(size * (1 - size) / worlds)
    assert rejected / worlds == pytest.approx(size, abs=4 * error)


@pytest.mark.parametrize(("n", "m", "size"), [(4, 10, 0.096), (4, 6, 0.088), (3, 6, 0.118)])
def test_false_positive_rate_where_the_smaller_side_is_noisier(n: int, m: int, size: float) -> None:
    """Equal means, three times the standard deviation on the smaller side, 600 times.

    `size` is of 10,000 other worlds; by the bare difference it would be 0.206, 0.131 and 0.179. Tolerance
    2.5 standard errors.
    """
    rng = np.random.default_rng(12)
    rejected = sum(
        permutation_test(rng.normal(0, 3, n), rng.normal(0, 1, m), False)[0] <= 0.05 for _ in range(600)
    )
    assert rejected / 600 == pytest.approx(size, abs=2.5 * math.sqrt(size * (1 - size) / 600))


def test_family_of_equal_recipes_rarely_has_any_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four equal recipes, six pairs, 150 times: any verdict at all in at most 5 % (plus three errors)."""
    monkeypatch.setattr(verdicts, "bootstrap_interval", lambda *arguments: (0.0, 0.0))  # slow, unused
    rng = np.random.default_rng(5)
    pairs = list(itertools.combinations("abcd", 2))
    wrong = 0
    for _ in range(150):
        values = {name: seeded(list(rng.normal(20, 2, 6))) for name in "abcd"}
        found = judge_pairs(pairs, values, True, allow_paired=False)
        wrong += any(verdict.outcome in ("better", "worse") for verdict in found)
    assert wrong / 150 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 150)


def test_a_real_difference_is_found() -> None:
    rng = np.random.default_rng(6)
    found = [
        permutation_test(rng.normal(20, 1, 6), rng.normal(25, 1, 6), paired=False)[0] <= 0.05
        for _ in range(100)
    ]
    assert sum(found) >= 99


@pytest.mark.parametrize(
    ("paired", "n", "truth"), [(True, 5, 0.90), (False, 5, 0.965), (True, 10, 0.945), (False, 10, 0.96)]
)
def test_bootstrap_interval_covers_the_truth(paired: bool, n: int, truth: float) -> None:
    """Normal seeds, a difference of 2, 400 times, against the coverage of a longer simulation.

    Tolerance three standard errors and half a point for the longer one's own error. Without expansion
    the first would be 0.85.
    """
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(400):
        low, high = bootstrap_interval(rng.normal(3, 1, n), rng.normal(1, 1, n), paired, resamples=4000)
        covered += low <= 2 <= high
    assert covered / 400 == pytest.approx(truth, abs=3 * math.sqrt(truth * (1 - truth) / 400) + 0.005)


def test_bootstrap_interval_is_reproducible_and_holds_the_difference() -> None:
    a, b = [1.0, 2.0, 3.0, 4.0], [2.0, 2.5, 3.5, 6.0]
    low, high = bootstrap_interval(a, b, paired=False)
    assert (low, high) == bootstrap_interval(a, b, paired=False)
    assert low < np.mean(a) - np.mean(b) < high


# --- recipes that lost runs -------------------------------------------------------------------------


@pytest.fixture
def survivors(root: Path) -> Report:
    """Of ten seeds of lsgan, five diverged, one failed, one was killed; seed 9 failed and was run again."""
    for seed in range(10):
        synthetic.completed(root, loss="bce", seed=seed, fid=20 + 0.1 * seed, training=False)
        if seed not in range(3, 9):
            synthetic.completed(root, loss="lsgan", seed=seed, fid=10 + 0.2 * seed, training=False)
        elif seed < 8:
            synthetic.failed(root, "diverged", "d_loss is nan", loss="lsgan", seed=seed)
    synthetic.failed(root, "failed", "why", loss="lsgan", seed=8)
    synthetic.failed(root / "before", "failed", "why", loss="lsgan", seed=9)
    synthetic.failed(root, "interrupted", "SIGTERM", loss="lsgan", seed=10)
    return compare(Options(roots=[root], test=True))


def test_a_verdict_on_survivors_says_so_in_its_line(survivors: Report) -> None:
    text = to_text(blocks(survivors))
    (line,) = (line for line in text.splitlines() if line.startswith("lsgan") and "than" in line)
    assert line.startswith("lsgan  survivors better than  bce ")
    assert line.endswith("4 (5 diverged, 1 failed) / 10 unpaired")
    assert "survivors: runs that diverged or failed have no score" in text


def test_every_format_says_which_runs_a_verdict_lacks(survivors: Report) -> None:
    parts = blocks(survivors)
    for text in (to_text(parts), to_markdown(parts), to_latex(parts), to_html(survivors, [])):
        assert "survivors better than" in text
        assert "(5 diverged, 1 failed)" in text.replace("\\", "")
    (verdict,) = json.loads(to_json(survivors))["tables"][0]["verdicts"]
    assert (verdict["lost_first"], verdict["lost_second"]) == ("5 diverged, 1 failed", "")
    lines = csv.DictReader(io.StringIO(tables_csv(survivors)))  # no verdicts there
    lost = next(line["not_counted"] for line in lines if line["recipe"] == "lsgan")
    assert "5 diverged" in lost and "1 interrupted" in lost


def test_a_verdict_against_survivors_says_so(survivors: Report) -> None:
    survivors = compare(Options(roots=survivors.options.roots, baseline="lsgan"))
    assert "bce    worse than survivors of  lsgan" in to_text(blocks(survivors))


def test_without_lost_runs_nothing_speaks_of_survivors(root: Path) -> None:
    for loss, seed in itertools.product(("bce", "hinge"), range(6)):
        synthetic.completed(root, loss=loss, seed=seed, fid=10 + seed + 20 * (loss == "bce"), training=False)
    synthetic.failed(root, "interrupted", "SIGTERM", seed=9)
    text = to_text(blocks(compare(Options(roots=[root], test=True))))
    assert "better than" in text and "survivors" not in text
