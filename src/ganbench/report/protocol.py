"""Which score of a run counts, and under which protocol; two protocols are never ranked together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from ganbench.errors import UserError
from ganbench.metrics.protocol import FREE, JUDGE_SIZE
from ganbench.report.collect import JsonObject, Run, flatten
from ganbench.report.columns import Column, finite
from ganbench.report.text import as_number, clean, count, digest, natural, setting

SIZE = "reference.image_size"
"""Said only where it is not `JUDGE_SIZE`."""

IMAGES = "reference.sha256"

AXES = {"images": "images", "seconds": "train_seconds", "steps": "step"}
_PROGRESS = {"images": "images_seen", "seconds": "seconds.train", "steps": "steps_done"}


@dataclass(frozen=True)
class Protocol:
    """Every setting of how scores were made, as sorted pairs of dotted key and text."""

    settings: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Protocol:
        """The protocol of one score record."""
        return _of_json(json.dumps(record["protocol"]))

    @cached_property
    def as_dict(self) -> dict[str, str]:
        """The settings by dotted key."""
        return dict(self.settings)

    def get(self, key: str, default: str = "?") -> str:
        """One setting."""
        return self.as_dict.get(key, default)

    @property
    def dataset(self) -> str:
        """Name of the reference's dataset."""
        return self.get("reference.dataset")

    @property
    def extractor(self) -> str:
        """Name of the feature extractor."""
        return self.get("extractor")

    @property
    def split(self) -> str:
        """The reference's split."""
        return self.get("reference.split")

    def differences(self, other: Protocol, ignore: Iterable[str] = ()) -> list[str]:
        """The settings in which two protocols differ, ``key here (there)``; other images come first."""
        keys = sorted({*self.as_dict, *other.as_dict} - set(ignore), key=lambda k: (k != IMAGES, k))
        told = [key for key in keys if self.as_dict.get(key) != other.as_dict.get(key)]
        # Another dataset or extractor brings other hashes along; naming the cause is enough.
        if SIZE in told:
            told = [key for key in told if key != IMAGES]
        if "reference.dataset" in told:
            told = [k for k in told if k not in (IMAGES, "extractor_sha256", "reference.count")]
        if "reference.split" in told:
            told = [k for k in told if k not in (IMAGES, "reference.count")]
        if "extractor" in told:
            told = [key for key in told if key != "extractor_sha256"]
        return [
            f"{key} {digest(self.get(key, _unset(key)))} ({digest(other.get(key, _unset(key)))})"
            for key in told
        ]

    def describe(self) -> str:
        """One line for a table's head."""
        real = count(finite(as_number(self.get("reference.count"))))
        made = count(finite(as_number(self.get("num_generated"))))
        size = self.get(SIZE, "")
        return (
            f"{made} generated against {real} real images of {self.dataset} ({self.split} split"
            f"{size and f', made at {size}×{size}'}); "
            f"extractor {self.extractor} ({digest(self.get('extractor_sha256'))}), "
            f"protocol v{self.get('version')}"
        )


@lru_cache(maxsize=10_000)
def _of_json(text: str) -> Protocol:
    """The protocol that a record holds, by its text: thousands of records share a few."""
    flat = flatten(json.loads(text))
    return Protocol(tuple(sorted((clean(k), setting(v)) for k, v in flat.items() if k not in FREE)))


@dataclass(frozen=True)
class Pick:
    """The score of a run that counts under one protocol."""

    run: Run
    record: JsonObject

    def value(self, column: Column) -> float | None:
        """The value of a column: in the record, or what the run itself measured."""
        if column.key:
            return finite(self.record["values"].get(column.key))
        if column.name == "seconds":
            return self.seconds
        if self.images is None or self.seconds is None or self.seconds <= 0:
            return None
        return self.images / self.seconds

    @property
    def is_midway(self) -> bool:
        """Taken during training, so that the run's own totals do not describe it."""
        return self.record.get("when") == "training"

    @property
    def seconds(self) -> float | None:
        """Seconds of training: up to a score taken on the way, else the whole run's.

        Also for its best weights: that they are the best is known when it has ended.
        """
        if self.is_midway:
            return finite(self.record.get("train_seconds"))
        return self.run.measured("seconds.train")

    @property
    def images(self) -> float | None:
        """Real images the discriminator had seen in those seconds."""
        if self.is_midway:
            return finite(self.record.get("images"))
        return self.run.measured("images_seen")


@dataclass(frozen=True)
class Budget:
    """Compare at an equal amount of ``images``, ``seconds`` or ``steps``."""

    axis: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Budget:
        """From ``images=200000``.

        Raises:
            UserError: another axis, or no positive number.
        """
        axis, _, value = text.partition("=")
        limit = finite(as_number(value.replace("_", "")))
        if axis not in AXES or limit is None or limit <= 0:
            raise UserError(
                f"--at {clean(text)}: must be images=N, seconds=S or steps=N with a positive number, "
                "e.g. --at images=200000"
            )
        return cls(axis, limit)

    def __str__(self) -> str:
        return f"{self.axis}={setting(self.limit)}"


def reported(run: Run, weights: str) -> dict[Protocol, Pick]:
    """The newest score after training under each protocol, with the weights asked for."""
    newest: dict[Protocol, JsonObject] = {}
    for record in run.records:
        if record.get("when") not in ("final", "evaluate") or record.get("weights", "last") != weights:
            continue
        if _is_past(record, run):
            continue
        protocol = Protocol.of(record)
        held = newest.get(protocol)
        if held is None or str(record.get("created_at") or "") >= str(held.get("created_at") or ""):
            newest[protocol] = record
    return {protocol: Pick(run, record) for protocol, record in newest.items()}


def _is_past(record: JsonObject, run: Run) -> bool:
    """Whether the run went on after a score of `ganbench evaluate`, which is of older weights then."""
    if record.get("when") != "evaluate":
        return False
    step = finite(record.get("step"))
    if record.get("weights") == "best":  # the best at the end may be those of any step
        finals = [r for r in run.records if (r.get("when"), r.get("weights")) == ("final", "best")]
        return bool(finals) and step not in [finite(final.get("step")) for final in finals]
    done = run.measured("steps_done")
    return step is not None and done is not None and step < done


def at_budget(run: Run, budget: Budget) -> dict[Protocol, Pick]:
    """The last score taken during training at or before the budget, under each protocol.

    Empty for a run that never got so far: its score would be one of a smaller budget.
    """
    if not reached(run, budget):
        return {}
    key = AXES[budget.axis]
    held: dict[Protocol, tuple[float, JsonObject]] = {}
    for record in run.records:
        position = finite(record.get(key))
        if record.get("when") != "training" or position is None or position > budget.limit:
            continue
        protocol = Protocol.of(record)
        if protocol not in held or position >= held[protocol][0]:
            held[protocol] = position, record
    return {protocol: Pick(run, record) for protocol, (_, record) in held.items()}


def first_score(run: Run, axis: str) -> float | None:
    """Where a run's first score during training was taken, None without one."""
    taken = [record for record in run.records if record.get("when") == "training"]
    return min((at for record in taken if (at := finite(record.get(AXES[axis]))) is not None), default=None)


def progress(run: Run, axis: str) -> float:
    """How far the run got, by its own account or by its scores."""
    positions = [finite(record.get(AXES[axis])) for record in run.records]
    known = [p for p in (run.measured(_PROGRESS[axis]), *positions) if p is not None]
    return max(known, default=0.0)


def reached(run: Run, budget: Budget) -> bool:
    """Whether the run got as far as the budget."""
    return progress(run, budget.axis) >= budget.limit * (1 - 1e-9)


def training_picks(run: Run, protocol: Protocol | None = None) -> list[Pick]:
    """All scores taken during training, in order of steps; under one protocol if given."""
    picks = [
        Pick(run, record)
        for record in run.records
        if record.get("when") == "training" and (protocol is None or Protocol.of(record) == protocol)
    ]
    return sorted(picks, key=lambda pick: finite(pick.record.get("step")) or 0.0)


def order(protocols: Iterable[Protocol]) -> list[Protocol]:
    """The protocols of all runs, each once: what one reads first is first.

    By dataset, and there the one of most runs, so that a few runs scored otherwise come after all of them; of
    as many, the judge before others, test before train, and more images before fewer. Datasets, too, by
    their runs.
    """
    runs = Counter(protocols)
    most: Counter[str] = Counter()
    for protocol, number in runs.items():
        most[protocol.dataset] = max(most[protocol.dataset], number)
    rank = {"judge": 0, "inception": 1, "judge_b": 3}

    def place(p: Protocol) -> tuple[object, ...]:
        looks = (rank.get(p.extractor, 2), p.split != "test", natural(p.get(SIZE, "0")))
        made = finite(as_number(p.get("num_generated"))) or 0.0
        settings = [(key, natural(value)) for key, value in p.settings]
        return (-most[p.dataset], p.dataset, -runs[p], *looks, -made, settings)

    return sorted(runs, key=place)


def nearest(protocol: Protocol, others: Sequence[Protocol]) -> Protocol:
    """The one of `others` that differs in the fewest settings."""
    return min(others, key=lambda p: (p.dataset != protocol.dataset, len(protocol.differences(p))))


def _unset(key: str) -> str:
    return str(JUDGE_SIZE) if key == SIZE else "unset"
