"""Every metric of one set of images, from one pass through the extractor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

from torch import Tensor

from ganbench.metrics import classes, diversity, memorisation, neighbours
from ganbench.metrics.density_coverage import density_coverage
from ganbench.metrics.errors import MetricUndefined, require_count
from ganbench.metrics.features import Extractor, Features
from ganbench.metrics.fid import fid, statistics
from ganbench.metrics.inception_score import inception_score
from ganbench.metrics.kid import kid
from ganbench.metrics.precision_recall import precision_recall
from ganbench.metrics.protocol import EvalSettings, now
from ganbench.metrics.reference import Reference
from ganbench.runs import SCHEMA
from ganbench.versions import versions

log = logging.getLogger(__name__)

PerClass = dict[str, list[float | None]]


@dataclass
class Scores:
    """Numbers by name, class by class where a class has its own, and why those absent are.

    `seconds` holds ``reference`` (what had to be found out about the real images), ``features`` (of
    the generated ones) and ``metrics``.
    """

    values: dict[str, float] = field(default_factory=dict)
    per_class: PerClass = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def record(
        self, origin: Mapping[str, Any], protocol: Mapping[str, Any], batch_size: int, sampling: float = 0.0
    ) -> dict[str, Any]:
        """A record of ``scores.json``: `origin` is what was scored, `sampling` the seconds of making it."""
        return {
            "schema": SCHEMA,
            **origin,
            "protocol": protocol,
            "values": self.values,
            "per_class": self.per_class,
            "absent": self.absent,
            "batch_size": batch_size,
            "seconds": {"sampling": sampling, **self.seconds},
            "versions": versions(),
            "created_at": now(),
        }


@dataclass(frozen=True)
class _Scored:
    """What a metric may look at. `features` are the first `num_samples`, `every` all images'."""

    images: Tensor
    labels: Tensor | None
    every: Features
    features: Features
    reference: Reference
    train: Reference | None
    num_classes: int | None
    settings: EvalSettings

    def seen_classes(self, what: Features) -> Tensor:
        if self.num_classes is None:
            raise MetricUndefined(f"extractor {self.settings.extractor} does not know the dataset's classes")
        return what.predicted

    def count_classes(self) -> int:
        """Number of classes, from the extractor or else from the real images' labels."""
        return self.num_classes or int(self.reference.images.labels.max()) + 1

    def classes_for_diversity(self) -> Tensor:
        """The classes asked for, where there are such, else those seen."""
        return self.seen_classes(self.every) if self.labels is None else self.labels


def score_images(
    images: Tensor,
    reference: Reference,
    extractor: Extractor,
    settings: EvalSettings,
    labels: Tensor | None = None,
    train: Reference | None = None,
) -> Scores:
    """Score uint8 images N×C×H×W against `reference` by the metrics in ``settings.metrics``.

    `labels` int64 N are the classes asked for (conditional generators only). Distribution metrics
    use the first ``settings.num_samples`` images; class consistency and diversity the first
    ``settings.per_class`` of each class among all N. `train` are the training images, for
    memorisation.

    A metric without a value is in `absent` with the reason; the others still come.
    """
    clock = perf_counter()
    _prepare(reference, train, settings)
    prepared = perf_counter()
    every = extractor(images, settings.batch_size)
    extracted = perf_counter()
    scored = _Scored(
        images,
        labels,
        every,
        every[: settings.num_samples],
        reference,
        train,
        extractor.num_classes,
        settings,
    )
    scores = Scores()
    for family in settings.metrics:
        for names, compute in FAMILIES[family].items():
            try:
                values, per_class = compute(scored)
            except MetricUndefined as reason:
                scores.absent.update(dict.fromkeys(names, str(reason)))
            else:
                scores.values.update(values)
                scores.per_class.update(per_class)
    scores.seconds = {
        "reference": prepared - clock,
        "features": extracted - prepared,
        "metrics": perf_counter() - extracted,
    }
    return scores


def unusable(settings: EvalSettings, reason: str) -> Scores:
    """Scores of images that cannot be scored at all: every metric absent for one reason."""
    names = [name for family in settings.metrics for names in FAMILIES[family] for name in names]
    return Scores(
        absent=dict.fromkeys(names, reason), seconds={"reference": 0.0, "features": 0.0, "metrics": 0.0}
    )


def _prepare(reference: Reference, train: Reference | None, settings: EvalSettings) -> None:
    """Have everything about the real images at hand, so that its time is not the metrics'."""
    _ = reference.seen
    if "fid" in settings.metrics and len(reference) > 1:
        _ = reference.statistics
    for family, k in (("precision_recall", settings.pr_k), ("density_coverage", settings.dc_k)):
        if family in settings.metrics and len(reference) > k:
            reference.radii(k)
    if "memorisation" in settings.metrics and train is not None and len(train) > 1:
        _ = train.spacing


Result = tuple[dict[str, float], PerClass]


def _fid(scored: _Scored) -> Result:
    generated = statistics(scored.features.features)
    return {"fid": fid(generated, scored.reference.statistics)}, {}


def _kid(scored: _Scored) -> Result:
    chosen = scored.settings
    mean, std = kid(
        scored.features.features,
        scored.reference.features,
        chosen.kid_subsets,
        chosen.kid_subset_size,
        chosen.seed,
    )
    return {"kid_mean": mean, "kid_std": std}, {}


def _inception_score(scored: _Scored) -> Result:
    mean, std = inception_score(scored.features.logits, scored.settings.is_splits, scored.settings.seed)
    return {"is_mean": mean, "is_std": std}, {}


def _by_radii(measure: Callable[..., Any], key: str, scored: _Scored) -> Result:
    k = getattr(scored.settings, key)
    radii = scored.reference.radii(k) if len(scored.reference) > k else None
    return measure(scored.features.features, scored.reference.features, k, radii)._asdict(), {}


def _class_kl(scored: _Scored) -> Result:
    count = scored.count_classes()
    generated = classes.class_histogram(scored.seen_classes(scored.features), count)
    # Seen by the same classifier on both sides: its own bias cancels.
    real = classes.class_histogram(scored.seen_classes(scored.reference.seen), count)
    return {"class_kl": classes.histogram_kl(generated, real)}, {"histogram": generated.tolist()}


def _class_consistency(scored: _Scored) -> Result:
    if scored.labels is None:
        raise MetricUndefined("the generator is not conditional")
    found = classes.class_consistency(
        scored.seen_classes(scored.every), scored.labels, scored.count_classes(), scored.settings.per_class
    )
    return {"class_consistency": found.overall}, {"consistency": found.per_class}


def _pixel_std(scored: _Scored) -> Result:
    return _within_classes("pixel_std", diversity.pixel_std, scored, scored.images)


def _feature_distance(scored: _Scored) -> Result:
    return _within_classes("feature_distance", diversity.feature_distance, scored, scored.every.features)


def _within_classes(
    name: str, measure: Callable[..., classes.ByClass], scored: _Scored, what: Tensor
) -> Result:
    asked = scored.classes_for_diversity()
    found = measure(what, asked, scored.count_classes(), scored.settings.per_class)
    return {name: found.overall}, {name: found.per_class}


def _train_closer(scored: _Scored) -> Result:
    if scored.train is None:
        raise MetricUndefined("no training images were given")
    require_count("training images", len(scored.train), 2)
    found = neighbours.nearest(scored.features.features, scored.train.features)
    return {"train_closer": memorisation.train_closer(found, scored.train.spacing)}, {}


FAMILIES: dict[str, dict[tuple[str, ...], Callable[[_Scored], Result]]] = {
    "fid": {("fid",): _fid},
    "kid": {("kid",): _kid},
    "is": {("is",): _inception_score},
    "precision_recall": {("precision", "recall"): partial(_by_radii, precision_recall, "pr_k")},
    "density_coverage": {("density", "coverage"): partial(_by_radii, density_coverage, "dc_k")},
    "classes": {("class_kl",): _class_kl, ("class_consistency",): _class_consistency},
    "diversity": {("pixel_std",): _pixel_std, ("feature_distance",): _feature_distance},
    "memorisation": {("train_closer",): _train_closer},
}
"""Families as ``EvalSettings.metrics`` names them; in each, functions by the names in `absent`."""
