"""A generator in, a score record out: the one path that training and `ganbench evaluate` share."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from ganbench.data import Dataset
from ganbench.engine.sampling import Samples, generate, latents
from ganbench.metrics.cache import Cache
from ganbench.metrics.features import Extractor, load_extractor, require_channels
from ganbench.metrics.labels import labels_to_ask, reference_counts
from ganbench.metrics.protocol import JUDGE_SIZE, EvalSettings
from ganbench.metrics.reference import Reference
from ganbench.metrics.scoring import Scores, score_images, unusable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Origin:
    """Where a score comes from. `when` is training, final or evaluate; `weights` last, best or ema."""

    when: str
    weights: str
    step: int
    images: int
    train_seconds: float


class Evaluator:
    """Scores generators of one dataset by one protocol; extractor and real images stay loaded."""

    def __init__(
        self,
        dataset: Dataset,
        settings: EvalSettings,
        device: torch.device | str = "cpu",
        extractor: Extractor | None = None,
        cache: Cache | None = None,
    ) -> None:
        """Loads the extractor, so that what it lacks is found before any image is made.

        Raises:
            UserError: no such judge, no Inception weights to be had, or images of channels it does not take.
        """
        self.dataset = dataset
        self.settings = settings
        self.device = torch.device(device)
        self.extractor = extractor or load_extractor(
            settings.extractor, dataset.name, self.device, settings.inception_weights
        )
        self._warn_of_foreign_judge()
        require_channels(settings.extractor, self.extractor.channels, dataset.train.images.shape[1])
        self.cache = cache or Cache()

    def _warn_of_foreign_judge(self) -> None:
        """Tell where a judge was trained on other images than these that have their name."""
        trained_on = self.extractor.dataset_sha256
        # At another size the hash is that of other images.
        size = self.dataset.train.images.shape[-1]
        if size == JUDGE_SIZE and trained_on not in (None, self.dataset.sha256):
            log.warning(
                "eval.extractor=%s: was trained on other images called %s than these (sha256 %s, these %s) "
                "and may see nothing in them; take eval.extractor=inception, or look at samples alone "
                "(eval.enabled=false)",
                self.settings.extractor,
                self.dataset.name,
                str(trained_on)[:8],
                self.dataset.sha256[:8],
            )

    @cached_property
    def cheap(self) -> EvalSettings:
        """The settings of scores during training."""
        return self.settings.during_training(self.dataset.num_classes)

    @cached_property
    def train(self) -> Reference:
        """The train split."""
        return self._reference("train")

    @cached_property
    def test(self) -> Reference:
        """The test split."""
        return self._reference("test")

    def score(self, generator: nn.Module, z_dim: int, conditional: bool, origin: Origin) -> dict[str, Any]:
        """One score record as ``scores.json`` holds it, during training by the cheap setting.

        Leaves the generator's mode and the global random state as they were. Images with NaN or inf
        give a record whose every metric is absent with that reason.
        """
        settings = self.cheap if origin.when == "training" else self.settings
        reference = self.train if settings.reference_split == "train" else self.test
        start = perf_counter()
        samples = self._sample(generator, z_dim, conditional, settings, reference)
        sampling = perf_counter() - start
        scores = self._score(samples, settings, reference)
        protocol = settings.protocol(self.extractor.sha256, reference.describe())
        return scores.record(asdict(origin), protocol, settings.batch_size, sampling)

    def _sample(
        self,
        generator: nn.Module,
        z_dim: int,
        conditional: bool,
        settings: EvalSettings,
        reference: Reference,
    ) -> Samples:
        labels: Tensor | None = None
        if conditional:
            counts = reference_counts(reference.images.labels, self.dataset.num_classes, settings.num_samples)
            labels = labels_to_ask(counts, settings.per_class)
        count = settings.num_samples if labels is None else len(labels)
        z = latents(count, z_dim, settings.seed)
        return generate(generator, z, labels, settings.seed, settings.batch_size, self.device)

    def _score(self, samples: Samples, settings: EvalSettings, reference: Reference) -> Scores:
        if samples.nonfinite:
            reason = f"{samples.nonfinite} of {len(samples.images)} images hold NaN or inf"
            return unusable(settings, reason)
        train = self.train if "memorisation" in settings.metrics else None
        return score_images(samples.images, reference, self.extractor, settings, samples.labels, train)

    def _reference(self, name: str) -> Reference:
        return Reference(
            getattr(self.dataset, name),
            self.extractor,
            self.dataset.name,
            name,
            self.settings.batch_size,
            self.cache,
        )


def fid_of(record: dict[str, Any]) -> float:
    """FID of a record, infinite where it is absent: what the best checkpoint is chosen by."""
    return float(record["values"].get("fid", math.inf))
