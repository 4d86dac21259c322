"""What a table is made of: rows of recipes, summaries over seeds, floors, and remarks."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from ganbench.report.collect import Run
from ganbench.report.columns import Column
from ganbench.report.protocol import Budget, Pick, Protocol
from ganbench.report.verdicts import Verdict

Stat = Literal["median", "mean"]
Mark = Literal["", "best", "tie"]


@dataclass
class Summary:
    """One recipe's value of one column. `low` and `high` are None for a single seed.

    With "median" they are the quartiles, with "mean" one standard deviation (n - 1) to either side.
    """

    centre: float
    low: float | None
    high: float | None
    values: dict[int, float]
    mark: Mark = ""

    @property
    def n(self) -> int:
        """Number of seeds."""
        return len(self.values)


@dataclass(frozen=True)
class Problem:
    """Why a run is not among the seeds of its row."""

    run: Run
    kind: str
    reason: str


@dataclass
class Row:
    """A recipe. `picks` maps a seed to the score that counts; `recipe` holds the columns that differ.

    `label` says all of `recipe` and is unique in a table; `short` says what it takes to be so.
    """

    runs: list[Run]
    picks: dict[int, Pick]
    problems: list[Problem]
    recipe: dict[str, str] = field(default_factory=dict)
    label: str = ""
    short: str = ""
    cells: dict[str, Summary] = field(default_factory=dict)

    @cached_property
    def budget(self) -> dict[str, float | None]:
        """Steps, images shown and critic steps of a whole run, the middle one of the runs."""
        runs = [pick.run for pick in self.picks.values()] or self.runs
        steps = middle(run.measured("steps_total") for run in runs)
        images = middle(pick.run.measured("images_seen") for pick in self.picks.values())
        critic = None if steps is None else steps * self.runs[0].n_critic
        return {"steps": steps, "images": images, "critic steps": critic}

    @property
    def trouble(self) -> str:
        """What kept runs out of the row, counted: ``2 diverged, 1 failed``."""
        kinds = Counter(problem.kind for problem in self.problems)
        return ", ".join(f"{number} {kind}" for kind, number in kinds.items())

    @property
    def diagnosis(self) -> str:
        """What the runs' own diagnoses found, with the number of runs: ``collapse ×2``."""
        found = Counter(name for run in self.runs for name in sorted(run.diagnosis))
        return ", ".join(name if number == 1 else f"{name} ×{number}" for name, number in found.items())


@dataclass
class Floor:
    """What real images score against each other: no generator can be expected to do better."""

    name: str
    values: dict[str, float]
    differs: str = ""


@dataclass
class Table:
    """Rows that may be ranked together: one protocol. `protocol` is None where no run has a score."""

    protocol: Protocol | None
    rows: list[Row]
    stat: Stat
    weights: str
    at: Budget | None
    keys: list[str] = field(default_factory=list)
    shared: dict[str, str] = field(default_factory=dict)
    columns: list[Column] = field(default_factory=list)
    budgets: list[str] = field(default_factory=list)
    floors: list[Floor] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    by: Column | None = None
    verdicts: list[Verdict] = field(default_factory=list)
    verdict_notes: list[str] = field(default_factory=list)

    @property
    def dataset(self) -> str:
        """The dataset of all its rows."""
        return self.protocol.dataset if self.protocol else self.rows[0].runs[0].names["dataset"]

    @property
    def runs(self) -> list[Run]:
        """Every run of every row."""
        return [run for row in self.rows for run in row.runs]

    @property
    def title(self) -> str:
        """Dataset, protocol, weights and statistic in one line."""
        if self.protocol is None:
            return f"{self.dataset}: no scores yet"
        when = f"at {self.at}, from scores during training" if self.at else f"{self.weights} weights"
        return f"{self.dataset}: {self.protocol.describe()}; {when}"


def summarise(values: Mapping[int, float], stat: Stat) -> Summary:
    """Centre and spread over seeds; a single seed has no spread."""
    numbers = sorted(values.values())
    if stat == "mean":
        centre = statistics.fmean(numbers)
        half = statistics.stdev(numbers) if len(numbers) > 1 else None
        low, high = (None, None) if half is None else (centre - half, centre + half)
    else:
        centre = statistics.median(numbers)
        low, high = None, None
        if len(numbers) > 1:
            low, _, high = statistics.quantiles(numbers, n=4, method="inclusive")
    return Summary(centre, low, high, dict(values))


def middle(values: Iterable[float | None]) -> float | None:
    """Median of the known values; None without any."""
    numbers = [value for value in values if value is not None]
    return statistics.median(numbers) if numbers else None
