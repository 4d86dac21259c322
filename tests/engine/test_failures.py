"""Each failure on histories made for it: found at its threshold, not found just short of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from ganbench.config import load_group
from ganbench.config.targets import RECIPE_KEYS
from ganbench.config.validation import FAILURE_NAMES
from ganbench.engine.failures import (
    FAILURES,
    Collapse,
    Divergence,
    Failure,
    Finding,
    GradientExplosion,
    Oscillation,
    Saturation,
    StrongDiscriminator,
    VanishingGradients,
    variety,
)
from ganbench.engine.history import History
from ganbench.schema import RemedyConfig

HEALTHY = {
    "d_loss": 0.7, "g_loss": 2.0, "d_penalty": 0.0, "d_real": 2.0, "d_fake": -1.5, "d_accuracy": 0.88,
    "d_grad_norm": 10.0, "g_grad_norm": 5.0, "diversity": 0.6,
}  # fmt: skip

Row = dict[str, float]


def rows(count: int, every: int = 50, start: int = 0, **figures: float) -> list[Row]:
    """Blocks of history from step `start` on, healthy but for `figures`."""
    return [{"step": start + every * (i + 1), **HEALTHY, **figures} for i in range(count)]


def first_found(failure: Failure, history: list[Row]) -> tuple[int, Finding] | None:
    """The step at which a failure is found and the finding, asked after every block."""
    seen = History()
    for block in history:
        seen.append(block)
        if found := failure.in_history(seen):
            return int(block["step"]), found
    return None


def test_the_configuration_knows_the_names() -> None:
    assert tuple(failure.name for failure in FAILURES) == FAILURE_NAMES


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_the_fix_names_keys_that_exist(failure: Failure) -> None:
    shipped = load_group("loss", "bce")
    known = {*RECIPE_KEYS, *shipped, *(f"optimizer.{key}" for key in shipped["optimizer"])}
    fixes = " ".join(failure.fixes)
    named = set(re.findall(r"loss\.([a-z_.]*[a-z_])", fixes))
    assert named and named <= known
    assert set(re.findall(r"remedy\.([a-z_]+)", fixes)) <= {f.name for f in fields(RemedyConfig)}


@pytest.mark.parametrize("every", [50, 70, 500, 2000])
@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_a_healthy_history_has_none(failure: Failure, every: int) -> None:
    assert first_found(failure, rows(100, every)) is None
    assert failure.in_history(History([])) is None
    assert failure.in_history(History(rows(1))) is None


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.name)
def test_missing_values_show_nothing(failure: Failure) -> None:
    """A history from before a column was added has NaN in it."""
    assert first_found(failure, rows(100, **dict.fromkeys(HEALTHY, math.nan))) is None


SICK: dict[type[Failure], tuple[Callable[[float], Row], float, float, int, int]] = {
    # figures of a value, a value that is found, one that is not, blocks until then, found at
    Collapse: (lambda v: {"diversity": v}, 0.019, 0.021, 20, 1500),
    StrongDiscriminator: (lambda v: {"d_accuracy": v}, 0.971, 0.969, 0, 1000),
}


@pytest.mark.parametrize("failure", SICK, ids=lambda failure: failure.name)
def test_levels(failure: type[Failure]) -> None:
    figures, sick, well, before, at = SICK[failure]
    found = first_found(
        failure(), rows(before, **figures(sick)) + rows(40, start=before * 50, **figures(sick))
    )
    assert found is not None and found[0] == at
    assert first_found(failure(), rows(100, **figures(well))) is None


def test_collapse_is_told_from_a_generator_that_only_starts() -> None:
    collapse = Collapse()
    start = rows(20, diversity=0.05)
    assert first_found(collapse, start + rows(50, start=1000)) is None
    step, finding = first_found(collapse, start + rows(400, start=1000, diversity=0.05))  # type: ignore[misc]
    assert (step, finding) == (
        20_000,
        Finding(19_550, pytest.approx({"diversity": 0.05, "d_accuracy": 0.88})),
    )


@pytest.mark.parametrize("accuracy, found", [(0.54, True), (0.56, False), (0.985, False), (0.995, True)])
def test_a_discriminator_that_can_still_teach_excuses_a_slow_generator(accuracy: float, found: bool) -> None:
    history = rows(30, diversity=0.05, d_accuracy=accuracy)
    finding = Collapse().in_history(History(history))
    fixes = Collapse.fixes[:1] if accuracy >= 0.99 else ()  # features of a sure discriminator do not heal
    assert finding == (
        Finding(1050, pytest.approx({"diversity": 0.05, "d_accuracy": accuracy}), fixes) if found else None
    )
    critic = [row | {"d_loss": -3.0} for row in history]
    assert Collapse().in_history(History(critic)) is None, "a Wasserstein critic has no accuracy"


def test_one_image_needs_no_discriminator_to_tell() -> None:
    step, finding = first_found(Collapse(), rows(40, diversity=0.001, d_loss=-3.0))  # type: ignore[misc]
    assert (step, finding.step) == (1500, 1050)


@pytest.mark.parametrize("now, found", [(0.23, True), (0.25, False)])
def test_collapse_is_a_fall_as_well(now: float, found: bool) -> None:
    history = rows(40) + rows(10, start=2000, diversity=now)
    finding = Collapse().in_history(History(history))
    expected = Finding(2050, {"diversity": pytest.approx(now), "diversity_before": 0.6})
    assert finding == (expected if found else None)
    assert Collapse().in_history(History(history[:-1])) is None, "not yet for 500 steps"


def test_diversity_that_was_never_there_cannot_fall() -> None:
    assert first_found(Collapse(), rows(1, diversity=0.29) + rows(40, start=50, diversity=0.105)) is None


def test_a_gap_of_noise_does_not_swing() -> None:
    """Both logits drift together, as a Wasserstein critic's or a beaten discriminator's do."""
    history = [row | {"d_real": row["d_real"] + 50, "d_fake": 50.0} for row in swinging(2, 0.9)]
    assert Oscillation().in_history(History(history)) is None


def record(step: int, histogram: list[float], **values: float) -> dict[str, Any]:
    return {"step": step, "values": values, "per_class": {"histogram": histogram} if histogram else {}}


@pytest.mark.parametrize(
    "histogram, step, effective",
    [
        ([1.0] + [0.0] * 9, 20_000, 1.0),
        ([0.5, 0.5] + [0.0] * 8, 20_000, 2.0),
        ([1 / 3] * 3 + [0.0] * 7, 20_000, None),
        ([0.1] * 10, 20_000, None),
        ([1.0] + [0.0] * 9, 19_999, None),
        ([], 20_000, None),
    ],
)
def test_few_classes(histogram: list[float], step: int, effective: float | None) -> None:
    finding = Collapse().in_scores(record(step, histogram, class_kl=1.5, recall=0.01, fid=9.0), {})
    if effective is None:
        assert finding is None
    else:
        figures = {"effective_classes": pytest.approx(effective), "class_kl": 1.5, "recall": 0.01}
        assert finding == Finding(20_000, figures)


@pytest.mark.parametrize(
    "step, classes, precision, found",
    [
        (2808, 1, 0.87, True),
        (2808, 2, 0.60, True),
        (2808, 2, 0.59, False),  # blots of a young generator
        (2808, 2, None, False),  # scores on the way have none
        (2808, 3, 0.87, False),
        (1000, 1, 0.87, False),
    ],
)
def test_good_images_of_few_classes(step: int, classes: int, precision: float | None, found: bool) -> None:
    values = {"recall": 0.3} if precision is None else {"precision": precision, "recall": 0.3}
    histogram = [1 / classes] * classes + [0.0] * (10 - classes)
    finding = Collapse().in_scores(record(step, histogram, **values), {})
    expected = Finding(step, {"effective_classes": pytest.approx(classes), **values})
    assert finding == (expected if found else None)


@pytest.mark.parametrize(
    "now, best, found",
    [
        ({"recall": 0.23}, {"recall": 0.6}, "recall"),
        ({"recall": 0.25}, {"recall": 0.6}, None),
        ({"recall": 0.0}, {"recall": 0.29}, None),
        ({}, {"effective_classes": 3.0}, "effective_classes"),
        ({}, {"effective_classes": 2.9}, None),
        ({}, {"recall": 0.9}, None),
    ],
)
def test_variety_that_falls(now: dict[str, float], best: dict[str, float], found: str | None) -> None:
    """After the warm-up, by either of the judge's figures; the record's images are all of one class."""
    finding = Collapse().in_scores(record(1001, [1.0] + [0.0] * 9, **now), best)
    if found is None:
        assert finding is None
    else:
        figure = now.get(found, 1.0)
        assert finding == Finding(1001, {found: figure, f"{found}_before": best[found]})
    assert Collapse().in_scores(record(1000, [1.0] + [0.0] * 9, **now), best) is None


def test_variety_is_what_the_record_has() -> None:
    assert variety(record(1, [])) == {}
    found = variety(record(1, [0.5, 0.25, 0.25, 0.0], recall=0.5, fid=1.0))
    assert found == pytest.approx({"effective_classes": 2**1.5, "recall": 0.5})


def test_a_strong_discriminator_is_shown_by_its_figures() -> None:
    history = rows(20, d_accuracy=1.0, d_loss=0.01, d_real=12.0, d_fake=-8.0)
    finding = StrongDiscriminator().in_history(History(history))
    assert finding is not None and finding.step == 50
    assert finding.evidence == pytest.approx(
        {"d_accuracy": 1.0, "d_loss": 0.01, "g_grad_norm": 5.0, "logit_gap": 20.0}
    )
    assert StrongDiscriminator().in_history(History(history[:19])) is None


def test_a_critic_has_no_accuracy() -> None:
    """A Wasserstein critic's loss is negative, and its logits have no zero."""
    assert first_found(StrongDiscriminator(), rows(40, d_accuracy=1.0, d_loss=-3.0)) is None


@pytest.mark.parametrize("norm, found", [(0.249, True), (0.251, False)])
def test_vanishing_gradients(norm: float, found: bool) -> None:
    history = rows(10) + rows(10, start=500, g_grad_norm=norm)
    finding = VanishingGradients().in_history(History(history))
    expected = Finding(550, {"g_grad_norm": pytest.approx(norm), "g_grad_norm_at_start": 5.0})
    assert finding == (expected if found else None)
    assert VanishingGradients().in_history(History(history[:-1])) is None


@pytest.mark.parametrize(
    "norm, accuracy, found", [(0.19, 1.0, True), (0.21, 1.0, False), (0.19, 0.98, False)]
)
def test_saturation(norm: float, accuracy: float, found: bool) -> None:
    history = rows(10) + rows(10, start=500, d_grad_norm=norm, d_accuracy=accuracy, d_loss=1e-5)
    finding = Saturation().in_history(History(history))
    assert (finding is not None) == found
    if finding:
        assert finding.step == 550 and finding.evidence["d_loss"] == pytest.approx(1e-5)


@pytest.mark.parametrize("column", ["d_loss", "g_loss"])
def test_divergence(column: str) -> None:
    figures = {"d_loss": HEALTHY["d_loss"], "g_loss": HEALTHY["g_loss"], column: -1001.0}
    finding = Divergence().in_history(History(rows(10) + rows(4, start=500, **figures)))
    assert finding == Finding(550, figures)
    short = rows(10) + rows(3, start=500, **figures)
    assert first_found(Divergence(), short + rows(20, start=650)) is None, "it came back"
    assert first_found(Divergence(), rows(10) + rows(40, start=500, **{column: -999.0})) is None


@pytest.mark.parametrize(
    "start, now, found", [(4000, 4000, False), (4000, 39e3, False), (4000, 41e3, True), (1e6, 2e5, True)]
)
def test_divergence_is_told_from_a_large_scale(start: float, now: float, found: bool) -> None:
    """Feature matching begins in the thousands; a rate of 1 with a million in the first block."""
    history = rows(1, g_loss=start) + rows(10, start=50, g_loss=now)
    assert (Divergence().in_history(History(history)) is not None) == found


@pytest.mark.parametrize("column", ["d_grad_norm", "g_grad_norm"])
@pytest.mark.parametrize("largest", [2.0, 40.0])
def test_gradient_explosion(column: str, largest: float) -> None:
    start = [*rows(3), *rows(1, start=150, **{column: largest}), *rows(6, start=200, **{column: 1.0})]
    largest = max(largest, HEALTHY[column])
    limit = max(100.0, 10 * largest)
    for factor, found in ((1.01, True), (0.99, False)):
        finding = GradientExplosion().in_history(
            History([*start, *rows(1, start=500, **{column: factor * limit})])
        )
        expected = Finding(550, {column: factor * limit, "largest_before": largest})
        assert finding == (expected if found else None)
    early = [*rows(1), *rows(1, start=50, **{column: 1e9})]
    assert GradientExplosion().in_history(History(early)) is None, "too soon to know what is usual"


def swinging(period: int, swing: float, blocks: int = 20) -> list[Row]:
    """A gap of 4 that swings up and down by a share `swing` of it, `period` blocks to either side."""
    gaps = [4 * (1 + swing * (1 if i // period % 2 else -1)) for i in range(blocks)]
    return [row | {"d_real": gap, "d_fake": 0.0} for row, gap in zip(rows(blocks), gaps, strict=True)]


@pytest.mark.parametrize(
    "period, swing, found", [(2, 0.6, True), (2, 0.4, False), (3, 0.6, True), (4, 0.6, False)]
)
def test_oscillation(period: int, swing: float, found: bool) -> None:
    finding = Oscillation().in_history(History(swinging(period, swing)))
    assert (finding is not None) == found
    if finding:
        assert finding.step == 50
        assert finding.evidence["swings"] == 20 // period - (20 % period == 0)
        assert (finding.evidence["gap_low"], finding.evidence["gap_high"]) == pytest.approx((1.6, 6.4))
