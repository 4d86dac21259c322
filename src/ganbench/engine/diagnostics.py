"""Diagnostics: names for what goes wrong in a training, found while it happens.

What is found depends on the history and the score records alone, both of which a checkpoint holds: a resumed
run finds what the whole one would have found. Needs no torch, costs the device nothing and the host the same
at every step of a run.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ganbench.config import Config, lookup
from ganbench.engine.failures import DIVERGENCE, FAILURES, Failure, Finding, Record, variety
from ganbench.engine.history import History
from ganbench.runs import HISTORY_COLUMNS

BLOCK_STEPS = 50
"""Rows of history are averaged over at least so many steps, so that rules mean the same at any log_every."""

LAST_RESORT = "a lower loss.d_lr and loss.g_lr (what else is known to help is set already)"
"""Advised where a run has made all the changes that are named for its failure."""


@dataclass(frozen=True)
class Diagnosis:
    """A failure, the step at which it began, the figures that show it, and what to change."""

    name: str
    step: int
    evidence: Mapping[str, float]
    fix: str

    @classmethod
    def of(cls, failure: Failure, finding: Finding, config: Config) -> Diagnosis:
        """What `failure` found in a run of `config`."""
        evidence = {name: _rounded(value) for name, value in finding.evidence.items()}
        return cls(failure.name, finding.step, evidence, advice(finding.fixes or failure.fixes, config))

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:g}" for name, value in self.evidence.items())
        return f"{self.name} since step {self.step}{figures and f' ({figures})'}"


class Diagnostics:
    """What has been found so far in a history and score records that only grow.

    `config`: the run's, so that nothing is advised that it does already.
    """

    def __init__(self, config: Config | None = None) -> None:
        self._config = config or {}
        self.found: dict[str, Diagnosis] = {}
        self._history = History()
        self._block: list[Sequence[float]] = []
        self._block_start = 0.0
        self._rows_seen = 0
        self._records_seen = 0
        self._best_variety: dict[str, dict[str, float]] = {}

    def update(self, rows: Sequence[Sequence[float]], records: Sequence[Record]) -> list[Diagnosis]:
        """Look at what was added since the last call; the failures found for the first time.

        `rows` are in the order of `HISTORY_COLUMNS`. Rows and records are looked at in the order of their
        steps, a row before a record, as they came while training.
        """
        before = set(self.found)
        for news in self._in_order(rows[self._rows_seen :], records[self._records_seen :]):
            if isinstance(news, Mapping):
                self._add_record(news)
            else:
                self._add_row(news)
        return [diagnosis for name, diagnosis in self.found.items() if name not in before]

    def diverged(self, step: int, last: Mapping[str, float]) -> Diagnosis:
        """Note a training that ended in values that are no numbers; `last` are the last finite figures."""
        self._note(DIVERGENCE, Finding(step, dict(last)))
        return self.found[DIVERGENCE.name]

    def as_dicts(self) -> list[dict[str, Any]]:
        """What was found, as run.json holds it, in the order of the steps."""
        return [asdict(diagnosis) for diagnosis in sorted(self.found.values(), key=lambda d: d.step)]

    @staticmethod
    def _in_order(
        rows: Sequence[Sequence[float]], records: Sequence[Record]
    ) -> Iterator[Sequence[float] | Record]:
        events: list[tuple[float, int, Any]] = [(row[0], 0, row) for row in rows]
        events += [(record["step"], 1, record) for record in records]
        return (event[2] for event in sorted(events, key=lambda event: event[:2]))

    def _add_record(self, record: Record) -> None:
        self._records_seen += 1
        best = self._best_variety.setdefault(_protocol(record), {})
        self._ask(lambda failure: failure.in_scores(record, best))
        for name, value in variety(record).items():
            best[name] = max(value, best.get(name, value))

    def _add_row(self, row: Sequence[float]) -> None:
        self._rows_seen += 1
        self._block.append(row)
        if row[0] - self._block_start < BLOCK_STEPS:
            return
        self._history.append(_mean(self._block, self._block_start))
        self._block, self._block_start = [], row[0]
        self._ask(lambda failure: failure.in_history(self._history))

    def _ask(self, question: Callable[[Failure], Finding | None]) -> None:
        for failure in FAILURES:
            if failure.name not in self.found and (finding := question(failure)):
                self._note(failure, finding)

    def _note(self, failure: Failure, finding: Finding) -> None:
        self.found.setdefault(failure.name, Diagnosis.of(failure, finding, self._config))


def advice(fixes: Sequence[str], config: Config) -> str:
    """The changes in words, without those that `config` has made (`LAST_RESORT`, if it has made all)."""
    *others, last = [fix for fix in fixes if not _made(fix, config)] or [LAST_RESORT]
    return f"{', '.join(others)}, or {last}" if others else last


def _made(fix: str, config: Config) -> bool:
    """Whether the fix holds: all its KEY=VALUEs, or the order of two keys."""
    if order := re.fullmatch(r"(\S+) no higher than (\S+)", fix):
        lower, upper = (_value(config, key) for key in order.groups())
        return lower is not None and upper is not None and lower <= upper
    settings = re.findall(r"([\w.]+)=([^\s']+)", fix)
    return bool(settings) and all(_value(config, key) == _read(text) for key, text in settings)


def _value(config: Config, key: str) -> Any:
    """What a key is set to; of a group its name."""
    found = lookup(config, key)
    if key == "loss.critic_norm" and found == "auto":
        found = lookup(config, "model.discriminator.norm")  # the model's own
    return found.get("name") if isinstance(found, Mapping) else found


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _protocol(record: Record) -> str:
    """The same for records whose figures may be compared."""
    return json.dumps(record["protocol"], sort_keys=True)


def _mean(rows: Sequence[Sequence[float]], start: float) -> dict[str, float]:
    """One row for several: the last one's counts, and means weighted by the steps each row stands for."""
    weights = [row[0] - before for row, before in zip(rows, [start, *(r[0] for r in rows)], strict=False)]
    total = sum(weights)
    means = [
        sum(map(operator.mul, column, weights)) / total  # fmean takes weights from Python 3.11 on
        for column in zip(*rows, strict=True)
    ]
    return {**dict(zip(HISTORY_COLUMNS, means, strict=True)), "step": rows[-1][0]}


def _rounded(value: float) -> float:
    """To four significant digits: evidence is for people."""
    return float(f"{value:.4g}")
