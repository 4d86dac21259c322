"""The failures of GAN training, each a small strategy: since when do the figures show it, if they do?

The history comes in blocks of 50 steps or more, rows of means by the names of history.csv. Every threshold
is a field; docs/failure_modes.md has the runs they were set on. No rule depends on the name of a loss,
model or dataset: levels are relative to the run's own start wherever a figure has no natural scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean
from typing import Any, ClassVar, NamedTuple

from ganbench.engine.history import History, Row, Rows

Record = Mapping[str, Any]

SPECTRAL = "loss.critic_norm=spectral (not with weight clipping)"
RATES = (
    "equal and lower rates, e.g. with Adam loss.d_lr=2e-4 loss.g_lr=2e-4 'loss.optimizer.betas=[0.5,0.999]'"
)


class Finding(NamedTuple):
    """The step at which a failure began, the figures that show it, and its own fixes if not all heal it."""

    step: int
    evidence: dict[str, float]
    fixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Base of all failures. A question is asked whenever there is a new block or score record."""

    name: ClassVar[str]
    fixes: ClassVar[tuple[str, ...]] = ()
    """Changes that can heal it, each alone; keys as they are typed."""

    def in_history(self, history: History) -> Finding | None:
        """What the history up to its newest block shows."""
        return None

    def in_scores(self, record: Record, best: Mapping[str, float]) -> Finding | None:
        """What the newest score record shows, beside the largest `variety` of those before it."""
        return None


@dataclass(frozen=True)
class Collapse(Failure):
    """The generator makes few different images: all nearly alike, ever fewer, or of a few classes only."""

    name = "collapse"
    fixes = (RATES, "remedy.feature_matching=true")

    warm_up: int = 1000
    """Steps before which every generator makes one blob: healthy MLPs on MNIST stay at 0.17 until then. Their
    scores are of noise."""
    lasting: int = 500
    identical: float = 0.02
    """Diversity that no generator has on its way to a better one."""
    alike: float = 0.1
    """Below the 0.15 to 0.5 of untrained generators. Slow recipes pass through it (0.04 to 0.1 until
    step 5,550, Adam's default betas) while the discriminator's errors move them on: it counts where those
    end."""
    guessing: float = 0.55
    """Accuracy of a discriminator that cannot tell the fakes, which then need no variety."""
    certain: float = 0.99
    """Accuracy of one that always can: it has little left to teach."""
    fallen: float = 0.4
    """Of the best diversity or variety so far; healthy runs never lose half of theirs."""
    worth_losing: float = 0.3
    judged: tuple[tuple[str, float], ...] = (("effective_classes", 3.0), ("recall", 0.3))
    """The judge's figures that are held to their best, and how large that must have been. The distance of
    features is none of them: that of noise, three times a young generator's, is no variety to lose."""
    long: int = 20_000
    """Steps after which slowness is no excuse; until 10,500 healthy MLPs were seen to make few classes."""
    few_classes: float = 0.25
    """Effective number of classes, exp of the histogram's entropy, as a share of all."""
    convincing: float = 0.6
    """Precision of images whose few classes slowness excuses at no step: healthy MLPs that still have few
    reach 0.49 on MNIST, with all classes 0.6 to 0.75."""

    def in_history(self, history: History) -> Finding | None:
        """After the warm-up: too little diversity over `lasting` steps, or too little of what it was."""
        recent = history.last(self.lasting)
        if not recent or recent[0]["step"] <= self.warm_up:
            return None
        now = mean(recent, "diversity")
        best = history.peak_before(recent, "diversity")
        if now < self.identical or (now < self.alike and not self._may_be_slow(recent)):
            accuracy = mean(recent, "d_accuracy")
            # Before a discriminator that is sure of everything the remedy was measured to be none.
            fixes = self.fixes[:1] if accuracy >= self.certain else ()
            return Finding(since(recent), {"diversity": now, "d_accuracy": accuracy}, fixes)
        if best >= self.worth_losing and now < self.fallen * best:
            return Finding(since(recent), {"diversity": now, "diversity_before": best})
        return None

    def _may_be_slow(self, recent: Rows) -> bool:
        """Not yet long trained, by a discriminator that neither guesses nor is sure of everything."""
        contested = self.guessing < mean(recent, "d_accuracy") < self.certain
        return recent[-1]["step"] < self.long and (contested or not classifies(recent))

    def in_scores(self, record: Record, best: Mapping[str, float]) -> Finding | None:
        """A judge sees little left of what it saw; or few classes, after long or in good images."""
        if record["step"] <= self.warm_up:
            return None
        now = variety(record)
        for name, worth in self.judged:
            before = best.get(name, -math.inf)
            if name in now and before >= worth and now[name] < self.fallen * before:
                return Finding(record["step"], {name: now[name], f"{name}_before": before})
        few = self.few_classes * len(record["per_class"].get("histogram") or ())
        values = record["values"]
        done = record["step"] >= self.long or values.get("precision", 0.0) >= self.convincing
        if not done or not now.get("effective_classes", math.inf) <= few:
            return None
        more = {name: values[name] for name in ("class_kl", "precision", "recall") if name in values}
        return Finding(record["step"], {"effective_classes": now["effective_classes"], **more})


@dataclass(frozen=True)
class StrongDiscriminator(Failure):
    """The discriminator tells nearly every fake from real for long, so that the generator only chases it."""

    name = "strong_discriminator"
    fixes = ("loss.n_critic=1", "loss.d_lr no higher than loss.g_lr", "a lower loss.d_lr and loss.g_lr")

    lasting: int = 1000
    accuracy: float = 0.97
    """Healthy recipes reach 0.96 over so many steps, on the smallest dataset; 0.94 on MNIST."""

    def in_history(self, history: History) -> Finding | None:
        """Mean accuracy over `lasting` steps, with a loss that classifies."""
        recent = history.last(self.lasting)
        if not recent or not (mean(recent, "d_accuracy") >= self.accuracy and classifies(recent)):
            return None
        gap = mean(recent, "d_real") - mean(recent, "d_fake")
        figures = {name: mean(recent, name) for name in ("d_accuracy", "d_loss", "g_grad_norm")}
        return Finding(since(recent), {**figures, "logit_gap": gap})


@dataclass(frozen=True)
class VanishingGradients(Failure):
    """The generator's gradient falls to a sliver of what it was at the start and stays there."""

    name = "vanishing_gradients"
    fixes = ("loss=bce (non-saturating) in place of a saturating loss", "loss.n_critic=1", RATES)

    lasting: int = 500
    fraction: float = 0.05
    """Healthy recipes stay above 0.15 of even their highest."""

    def in_history(self, history: History) -> Finding | None:
        """Mean norm over the last `lasting` steps against that over the first."""
        return faded(history, "g_grad_norm", self.lasting, self.fraction)


@dataclass(frozen=True)
class Saturation(Failure):
    """The discriminator is so sure of everything that its own loss has no gradient left: both stand still."""

    name = "saturation"
    fixes = ("loss=bce loss.real_label=0.9 (label smoothing)", RATES)

    lasting: int = 500
    fraction: float = 0.02
    accuracy: float = 0.99

    def in_history(self, history: History) -> Finding | None:
        """Its gradient's norm as the generator's in `VanishingGradients`, and nearly no error left."""
        found = faded(history, "d_grad_norm", self.lasting, self.fraction)
        recent = history.last(self.lasting)
        if not found or mean(recent, "d_accuracy") < self.accuracy:
            return None
        return Finding(found.step, {**found.evidence, "d_loss": mean(recent, "d_loss")})


@dataclass(frozen=True)
class Oscillation(Failure):
    """The logit gap swings: discriminator and generator overtake each other again and again."""

    name = "oscillation"
    fixes = ("a lower loss.d_lr and loss.g_lr", "less momentum, for Adam 'loss.optimizer.betas=[0.5,0.999]'")

    lasting: int = 1000
    swing: float = 0.5
    """A swing passes from this share above the mean gap to this share below it."""
    swings: int = 6
    noise: float = 0.1
    """A gap smaller than this share of the logits themselves is none: any noise makes it swing."""

    def in_history(self, history: History) -> Finding | None:
        """So many swings of the gap, d_real - d_fake, to either side of its mean over `lasting` steps."""
        recent = history.last(self.lasting)
        gaps = [row["d_real"] - row["d_fake"] for row in recent]
        size = fmean(max(abs(row["d_real"]), abs(row["d_fake"])) for row in recent) if recent else 0.0
        middle = fmean(gaps) if gaps else 0.0
        if middle <= self.noise * size:
            return None
        sides = [math.copysign(1, gap - middle) for gap in gaps if abs(gap - middle) > self.swing * middle]
        swings = sum(a != b for a, b in pairwise(sides))
        if swings < self.swings:
            return None
        return Finding(since(recent), {"swings": swings, "gap_low": min(gaps), "gap_high": max(gaps)})


@dataclass(frozen=True)
class Divergence(Failure):
    """The losses have run away, still finite, and do not come back; or a value is no number any more."""

    name = "divergence"
    fixes = ("a lower loss.d_lr and loss.g_lr", "loss=wgan_gp", SPECTRAL)

    lasting: int = 200
    size: float = 1000.0
    """Of the larger loss, in every block; the largest of a healthy run was 14."""
    times: float = 10.0
    """What it was in the first block: sums of squares over thousands of features begin in the thousands."""
    huge: float = 100_000.0
    """Nothing begins there but what has run away at once."""

    def in_history(self, history: History) -> Finding | None:
        """The larger of both losses, by size, over `lasting` steps."""
        recent = history.last(self.lasting)
        if not recent:
            return None
        smallest, first = min(map(_larger_loss, recent)), _larger_loss(history.first(1)[0])
        if not (smallest >= self.huge or smallest >= max(self.size, self.times * first)):
            return None
        return Finding(since(recent), {name: recent[-1][name] for name in ("d_loss", "g_loss")})


@dataclass(frozen=True)
class GradientExplosion(Failure):
    """A gradient's norm is suddenly many times what it ever was."""

    name = "gradient_explosion"
    fixes = ("a lower loss.d_lr and loss.g_lr", SPECTRAL)

    before: int = 2
    """Blocks before it, at least: the first steps of all may do anything."""
    times: float = 10.0
    norm: float = 100.0
    """A gradient that comes back from having vanished explodes by any measure; it is still none to fear."""

    def in_history(self, history: History) -> Finding | None:
        """Either norm in the newest block against its largest before."""
        if len(history) <= self.before:
            return None
        newest = history.last(1)
        for name in ("d_grad_norm", "g_grad_norm"):
            largest, now = history.peak_before(newest, name), newest[0][name]
            if now > self.norm and now > self.times * largest:
                return Finding(since(newest), {name: now, "largest_before": largest})
        return None


def _larger_loss(row: Row) -> float:
    return max(abs(row["d_loss"]), abs(row["g_loss"]))


DIVERGENCE = Divergence()

FAILURES: tuple[Failure, ...] = (
    Collapse(),
    StrongDiscriminator(),
    VanishingGradients(),
    Saturation(),
    Oscillation(),
    DIVERGENCE,
    GradientExplosion(),
)


def variety(record: Record) -> dict[str, float]:
    """What a judge says of how much images differ: figures that fall where a generator collapses.

    ``recall`` and ``effective_classes``, exp of the entropy of the histogram of classes; those that the
    record has.
    """
    values = record["values"]
    found = {"recall": values["recall"]} if "recall" in values else {}
    if shares := record["per_class"].get("histogram"):
        found["effective_classes"] = math.exp(-sum(share * math.log(share) for share in shares if share > 0))
    return found


def mean(rows: Rows, name: str) -> float:
    """Mean of a column; NaN, which no threshold is passed by, where a value is missing."""
    return fmean(row[name] for row in rows)


def classifies(rows: Rows) -> bool:
    """Whether an accuracy means anything: a Wasserstein critic's logits have no zero.

    Its loss is negative where it is ahead; the losses that classify are never so.
    """
    return mean(rows, "d_loss") >= 0


def since(rows: Rows) -> int:
    """The step of the first of these blocks."""
    return int(rows[0]["step"])


def faded(history: History, name: str, steps: int, fraction: float) -> Finding | None:
    """A column whose mean over the last `steps` is below `fraction` of that over the first."""
    recent = history.last(steps)
    if not recent or recent[-1]["step"] < 2 * steps:
        return None
    start, now = mean(history.first(steps), name), mean(recent, name)
    return Finding(since(recent), {name: now, f"{name}_at_start": start}) if now < fraction * start else None
