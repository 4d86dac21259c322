"""The protocol: everything a score depends on besides the generator. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timezone
from typing import Any

VERSION = 1
FREE = frozenset({"seed"})
"""Settings of a protocol that change the draw of images and nothing else: scores may be ranked together."""

QUANTISATION = "round((x+1)*127.5) to uint8"
JUDGE_SIZE = 28
"""Side of the images a judge sees; a protocol names the size of images of any other."""

ALL_METRICS = (
    "fid",
    "kid",
    "is",
    "precision_recall",
    "density_coverage",
    "classes",
    "diversity",
    "memorisation",
)

TRAIN_TEST, TRAIN_HALVES = "train-test", "train-halves"
"""The floors: train images against test, and one half of train against the other."""

CHEAP_METRICS = ("fid", "is", "classes")
"""What is scored during training: all that costs next to nothing once the features are there."""


@dataclass(frozen=True)
class EvalSettings:
    """The keys of the config group ``eval`` that decide a score; conf/eval/default.yaml has each.

    Values are taken as valid: the configuration is checked where it is read.
    """

    num_samples: int = 10_000
    extractor: str = "judge"
    seed: int = 20240501
    batch_size: int = 500
    reference_split: str = "test"
    kid_subsets: int = 100
    kid_subset_size: int = 1_000
    is_splits: int = 10
    pr_k: int = 3
    dc_k: int = 5
    per_class: int = 1_000
    training_num_samples: int = 2_000
    inception_weights: str | None = None
    metrics: tuple[str, ...] = ALL_METRICS

    @classmethod
    def from_config(cls, group: Mapping[str, Any]) -> EvalSettings:
        """From the ``eval`` group of a resolved configuration, other keys left aside."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in group.items() if key in known})

    def during_training(self, num_classes: int) -> EvalSettings:
        """The cheap setting: few images, against the train split, hardly more of a class than they hold."""
        return replace(
            self,
            num_samples=self.training_num_samples,
            per_class=min(self.per_class, max(1, self.training_num_samples // num_classes)),
            reference_split="train",
            metrics=CHEAP_METRICS,
        )

    def protocol(self, extractor_sha256: str, reference: Mapping[str, Any]) -> dict[str, Any]:
        """The protocol as a record carries it; `reference` is what `Reference.describe` says."""
        return {
            "version": VERSION,
            "extractor": self.extractor,
            "extractor_sha256": extractor_sha256,
            "reference": dict(reference),
            "num_generated": self.num_samples,
            "seed": self.seed,
            "quantisation": QUANTISATION,
            "kid_subsets": self.kid_subsets,
            "kid_subset_size": self.kid_subset_size,
            "is_splits": self.is_splits,
            "pr_k": self.pr_k,
            "dc_k": self.dc_k,
            "per_class": self.per_class,
        }


def protocol_key(protocol: Mapping[str, Any]) -> str:
    """Short hash that two protocols share exactly when their scores may be ranked together."""
    counted = {key: value for key, value in protocol.items() if key not in FREE}
    return hashlib.sha256(json.dumps(counted, sort_keys=True).encode()).hexdigest()[:12]


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
