"""Resident memory of a long run and of a sweep of many runs in one process.

    python scripts/memory.py

A run of 20,000 steps of the default mlp must end within 5 % of its memory after 1,000 steps; a sweep of 50
scored runs with plots must not grow by more than 10 % after its third. Batches of 8 make it
quick: a leak would be of steps, rows and runs, not of images.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

MARKS = (1_000, 2_000, 5_000, 10_000, 15_000, 20_000)
WARM_RUNS = 3
RUN_LIMIT, SWEEP_LIMIT = 0.05, 0.10

COMMON = ("dataset=digits", "model=mlp", "threads=1", "device=cpu")
RUN = (*COMMON, "train.steps=20000", "train.batch_size=8", "eval.enabled=false")
SWEEP = (*COMMON, "train=smoke", "eval.every=10")


def resident() -> float:
    """Megabytes of this process that are in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS: this needs Linux")


def long_run(root: Path) -> dict[int, float]:
    """Megabytes after each of `MARKS` steps of one run."""
    from ganbench.cli import main
    from ganbench.engine.loop import Training

    found: dict[int, float] = {}
    advance = Training.advance

    def measured(self: Training) -> None:
        advance(self)
        if self.step in MARKS:
            found[self.step] = resident()

    with mock.patch.object(Training, "advance", measured):
        code = main(["train", *RUN, f"output_root={root}"])
    assert code == 0 and len(found) == len(MARKS), (code, found)
    return found


def sweep(root: Path, count: int) -> list[float]:
    """Megabytes after each run of a sweep of `count` seeds."""
    from ganbench import session
    from ganbench.cli import main

    found: list[float] = []
    train_run: Callable[..., Any] = session.train_run

    def measured(*arguments: Any) -> Any:
        outcome = train_run(*arguments)
        found.append(resident())
        return outcome

    seeds = ",".join(map(str, range(count)))
    with mock.patch.object(session, "train_run", measured):
        code = main(["train", "-m", *SWEEP, f"seed={seeds}", f"output_root={root}"])
    assert code == 0 and len(found) == count, (code, found)
    return found


def table(title: str, rows: list[tuple[object, float]], base: float, limit: float) -> float:
    """Print memory by moment; the share by which the last exceeds, or falls below, `base`."""
    print(f"\n{title}: MB, and change (limit {limit:.0%})")
    for name, megabytes in rows:
        print(f"{name:>8}  {megabytes:8.1f}  {megabytes / base - 1:+.1%}")
    return rows[-1][1] / base - 1


def main() -> int:
    """Measure both; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50, help="of the sweep (default: 50)")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        steps = long_run(Path(folder) / "long")
        runs = sweep(Path(folder) / "sweep", arguments.runs)
    grown = table("steps", list(steps.items()), steps[MARKS[0]], RUN_LIMIT)
    marks = sorted({1, WARM_RUNS, 10, 20, 30, 40, len(runs)} & set(range(1, len(runs) + 1)))
    swept = table("runs", [(n, runs[n - 1]) for n in marks], runs[WARM_RUNS - 1], SWEEP_LIMIT)
    print(f"\n{time.monotonic() - began:.0f} s")
    return 0 if abs(grown) <= RUN_LIMIT and swept <= SWEEP_LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
