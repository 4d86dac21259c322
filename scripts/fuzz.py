"""Fuzz the command line and damaged run directories: no traceback, no hang, nobody's file touched.

    python scripts/fuzz.py --cases 2000

A case is a command line, half of them with nonsense in it, and a folder of two runs (one complete, one
stopped) whose files were cut short, altered, removed, or replaced by links, pipes, folders and values of the
wrong type. There is a complaint about a traceback, an exception's name in place of a reason, an exit code
other than 0, 1 and 2, more than two minutes, and about a file that was changed by a command that did not make
it. The commands run in this process, with plots left out and at most six steps a run.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import random
import re
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent))

import fault_injection as faults
from fuzz_cases import COMMANDS, Case, cases
from hypothesis import HealthCheck, Phase, given, seed, settings
from run_damage import HUGE, damage

from ganbench import data, runs
from ganbench.cli import main as ganbench
from ganbench.engine import loop
from ganbench.runs.layout import OWN_FILES

LIMIT_SECONDS = 120.0
MOST_STEPS = 6

TINY = (*faults.MLP, "train.steps=4", "train.checkpoint_every=2", "eval.every=2")
TRAIN = {"RUN": TINY, "STOPPED": (*TINY, "eval.enabled=false")}

FOREIGN = (
    "notes.txt", "mine.png", "report/table.csv", "pictures/holiday.png", "outputs/README.md",
    "RUN/notes.md", "RUN/samples/favourite.png", "STOPPED/checkpoints/kept.pt",
)  # fmt: skip
"""Files of somebody else's beside, and among, the runs and theirs."""


class Hang(BaseException):
    """A command takes too long; no `Exception`, so that nothing on the way swallows it."""


class World:
    """A folder with two runs that every case gets a copy of."""

    def __init__(self, folder: Path) -> None:
        """Train both."""
        self.folder, self.base = folder, folder / "base"
        self.base.mkdir(parents=True)
        with _chdir(self.base), mock.patch(f"{__name__}.LIMIT_SECONDS", 0.0):  # it loads and scores anew
            code, said, _ = run_command(["train", *TRAIN["RUN"]])
            assert code == 0, said
            with mock.patch.object(loop.Training, "advance", _failing_at(3)):
                code, said, _ = run_command(["train", *TRAIN["STOPPED"]])
            assert code == 1, said
        found = {runs.read_run(path).info["status"]: path for path in runs.find_runs(self.base)}
        places = {"RUN": found[runs.COMPLETED], "STOPPED": found[runs.FAILED]}
        self.places = {name: str(path.relative_to(self.base)) for name, path in places.items()}
        for name in FOREIGN:
            path = self.base / self._placed(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"somebody's {name}")

    def complaints(self, case: Case) -> list[str]:
        """Run one case in a fresh copy; what there is to complain about."""
        here, rng = self.folder / "case", random.Random(case.seed)
        shutil.rmtree(here, ignore_errors=True)
        shutil.copytree(self.base, here)
        with _chdir(here):
            done = [f"{place}: {damage(Path(self.places[place]), kind, rng)}" for place, kind in case.damages]
            before = contents(here)
            code, said, seconds = run_command(self._arguments(case))
            after = contents(here)
        found = [*judged(code, said, seconds)]
        for name in sorted(before):
            if before[name] != after.get(name) and not self._may_write(case.command[0], name):
                found.append(f"touched {name}")
        what = f"ganbench {shlex.join(case.command)} after {done}"
        return [f"{what}: {complaint}" for complaint in found]

    def _arguments(self, case: Case) -> list[str]:
        if case.command[0] == "train":
            name, place, *rest = case.command
            return [name, *TRAIN[place], *rest]
        return [self._placed(word) for word in case.command]

    def _placed(self, name: str) -> str:
        first, slash, rest = name.partition("/")
        return self.places.get(first, first) + slash + rest

    def _may_write(self, command: str, name: str) -> bool:
        """Whether a command may replace this file: `train` a run's own, `evaluate` the scores."""
        patterns = {"train": OWN_FILES, "evaluate": ("scores.json",)}.get(command, ())
        return any(
            fnmatch(name, f"{place}/{pattern}")
            for place in self.places.values()
            for pattern in (*patterns, ".lock")
        )


def run_command(arguments: Sequence[str]) -> tuple[object, str, float]:
    """Exit code, or what came instead of one, everything printed, and seconds of ``ganbench ARGUMENTS``."""
    output, began = io.StringIO(), time.monotonic()
    code: object = None
    path, argv, environment = list(sys.path), list(sys.argv), dict(os.environ)
    handler = signal.signal(signal.SIGALRM, _hang)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            code = ganbench(list(arguments))
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException as error:
        code = f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        sys.path[:], sys.argv[:] = path, argv
        os.environ.clear()
        os.environ.update(environment)
        _forget_logging()
    return code, output.getvalue(), time.monotonic() - began


def judged(code: object, said: str, seconds: float) -> Iterator[str]:
    """What a user would call a crash."""
    if code not in (0, 1, 2):
        yield f"exit code {code}"
    for sign in ("Traceback (most recent", "Logging error", "--debug shows where"):
        if sign in said:
            yield f"{sign!r} in {said[-800:]!r}"
    if code in (1, 2) and (named := re.search(r"(?<![\w.'])[A-Z]\w*(Error|Exception|Warning)\b: .*", said)):
        yield f"an exception for a reason: {named[0][:300]!r}"
    if code in (1, 2) and not said.strip():
        yield f"exit code {code} without a word"
    if seconds > LIMIT_SECONDS:
        yield f"took {seconds:.0f} s"


def contents(folder: Path) -> dict[str, str]:
    """Hash, or kind, of everything below a folder, by name; links are not followed."""
    found = {}
    for root, folders, files in os.walk(folder):
        for path in (Path(root) / name for name in (*folders, *files)):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                content = b"" if status.st_size >= HUGE else path.read_bytes()
                said = f"{status.st_size} bytes {hashlib.sha256(content).hexdigest()}"
            else:
                said = f"kind {stat.S_IFMT(status.st_mode)}"
            found[str(path.relative_to(folder))] = said
    return found


@contextlib.contextmanager
def light() -> Iterator[None]:
    """Short runs, data loaded once, no plots and no waiting for the disk: what is fuzzed stays."""
    build, count = data.build_dataset, loop.count_steps
    kept = cache(lambda text: build(json.loads(text)))

    def build_once(settings: dict[str, Any], root: Any = None) -> Any:
        return build(settings, root) if settings.get("root") or root else kept(json.dumps(settings))

    with contextlib.ExitStack() as stack:
        for name, value in {
            "ganbench.report.run_plots.loss_curves": lambda record: b"plot",
            "ganbench.report.run_plots.scores_over_time": lambda record: b"plot",
            "ganbench.report.figures.draw_all": lambda *arguments: [],
            "ganbench.scorer.NEIGHBOUR_SAMPLES": 32,
            "ganbench.engine.loop.SAMPLE_COUNT": 8,
            "ganbench.engine.loop.count_steps": lambda *arguments: min(count(*arguments), MOST_STEPS),
            "ganbench.data.build_dataset": build_once,
            "ganbench.session.build_dataset": build_once,
            "os.fsync": lambda descriptor: None,
        }.items():
            stack.enter_context(mock.patch(name, value))
        yield


def fuzz(number: int, folder: Path, randomness: int | None = None) -> tuple[list[str], Counter[str]]:
    """Run `number` cases, the same ones each time unless `randomness` is given.

    Prints each complaint when it comes; returns all, and how many cases there were of each command.
    """
    complaints: list[str] = []
    counts: Counter[str] = Counter()
    with mock.patch.dict(os.environ, GANBENCH_CACHE=str(folder / "cache")), light():
        world = World(folder)

        @settings(
            max_examples=number,
            deadline=None,
            database=None,
            derandomize=randomness is None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(cases())
        def try_one(case: Case) -> None:
            counts[case.command[0] if case.command[0] in COMMANDS else "other"] += 1
            for complaint in world.complaints(case):
                print(complaint, flush=True)
                complaints.append(complaint)

        (try_one if randomness is None else seed(randomness)(try_one))()
    return complaints, counts


def _failing_at(step: int) -> Callable[[loop.Training], None]:
    advance = loop.Training.advance

    def limited(self: loop.Training) -> None:
        if self.step == step:
            raise RuntimeError("stopped")
        advance(self)

    return limited


def _hang(number: int, frame: object) -> None:
    raise Hang(f"still at it after {LIMIT_SECONDS:g} s")


@contextlib.contextmanager
def _chdir(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _forget_logging() -> None:
    """Hydra's handlers hold on to the output of the command before."""
    for logger in (logging.getLogger(), *map(logging.getLogger, logging.Logger.manager.loggerDict)):
        logger.handlers[:] = []
        logger.disabled = False


def main() -> int:
    """Fuzz and report; 1 where there is something to complain about."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, help="of the cases (default: drawn)")
    arguments = parser.parse_args()
    chosen = random.randrange(2**32) if arguments.seed is None else arguments.seed
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        complaints, counts = fuzz(arguments.cases, Path(temporary), chosen)
    print(
        f"seed {chosen}: {sum(counts.values())} cases ({dict(counts)}), {len(complaints)} complaints, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
