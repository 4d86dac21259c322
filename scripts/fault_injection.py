"""Kill training runs at random moments, also in the middle of writing, and check that nothing is lost.

    python scripts/fault_injection.py --kills 100

Each run is started, killed with SIGKILL, started again, and so on, until it completes; between two starts
its last checkpoint is now and then truncated or altered. At the end its weights, history, scores and
pictures must be those of a run that nobody touched, bit for bit. After each kill every file there must be
whole. The runs are forked from a server that has torch loaded, so that a start costs no imports.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

# One thread a child: they are many, and bit-identity must not depend on how busy the machine is.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from ganbench import runs
from ganbench.config import Config, compose
from ganbench.runs.history import read_history

TIMEOUT_SECONDS = 300.0

SMALL = (
    "dataset=digits", "threads=1", "device=cpu", "train.steps=40", "train.batch_size=16", "train.log_every=3",
    "train.sample_every=10", "train.checkpoint_every=4", "eval.every=10", "eval.num_samples=60",
    "eval.training_num_samples=40", "eval.per_class=4", "eval.kid_subset_size=20", "eval.kid_subsets=5",
    "eval.is_splits=2",
)  # fmt: skip
"""A run of a second whose every part (checkpoints, scores on the way, pictures) is there."""

MLP = (*SMALL, "model=mlp", "model.z_dim=8", "model.generator.widths=[8]", "model.discriminator.widths=[8]")
CGAN = (
    *SMALL, "model=cgan", "model.z_dim=8", "model.generator.features=[8,4]", "train.steps=20",
    "model.discriminator.features=[4,4]", "+model.discriminator.hidden=8",
)  # fmt: skip

RECIPES = (
    (*MLP, "loss=bce"),
    (*MLP, "loss=wgan_gp", "loss.n_critic=2"),
    (*CGAN, "loss=sn_hinge"),
    (*MLP, "loss=wgan_clip"),
)

PRELOADED = (
    "ganbench.session", "ganbench.commands.train", "ganbench.report.run_plots", "sklearn.datasets",
    "PIL.PngImagePlugin", "torch_fidelity", "torch._dynamo",
)  # fmt: skip
"""Imported once, before the forks: each takes longer than a run."""

POINTS = ("fsync", "replace", "link")


@dataclass(frozen=True)
class Sabotage:
    """The process kills itself at its `number`-th call of ``os.<point>``: before it, halfway, or after."""

    point: str
    number: int
    moment: str

    def arm(self) -> None:
        """Put the trap into this process."""
        real: Callable[..., Any] = getattr(os, self.point)
        left = self.number

        def trapped(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left:
                return real(*arguments, **options)
            if self.moment == "half" and self.point == "fsync":
                with contextlib.suppress(OSError):  # a folder cannot be cut
                    os.ftruncate(arguments[0], os.fstat(arguments[0]).st_size // 2)
            if self.moment == "after":
                real(*arguments, **options)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(os, self.point, trapped)


# --- children ---------------------------------------------------------------------------------------


def start(function: Callable[..., int], *arguments: Any, log: Path) -> BaseProcess:
    """`function` in a process of its own, which ends with the number it returns; output goes to `log`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    child = context.Process(target=_in_child, args=(str(log), function, arguments), daemon=True)
    child.start()
    return child


def finish(child: BaseProcess, seconds: float = TIMEOUT_SECONDS) -> int:
    """Wait for a child; its exit code, negative for a signal.

    Raises:
        TimeoutError: it hangs; it is killed.
    """
    child.join(seconds)
    if child.exitcode is None:
        child.kill()
        child.join()
        raise TimeoutError(f"still at work after {seconds:g} s")
    return child.exitcode


def lighten() -> None:
    """Leave out of the runs of this process what takes long and proves nothing: plots, large pictures."""
    import ganbench.engine.loop as loop
    import ganbench.report.run_plots as plots
    import ganbench.scorer

    plots.loss_curves = plots.scores_over_time = lambda record: b"plot"
    ganbench.scorer.NEIGHBOUR_SAMPLES = 32
    loop.SAMPLE_COUNT, loop.CLASS_COLUMNS = 8, 2


def train(config: Config, trap: Sabotage | Signals | None = None) -> int:
    """Train in this process; 0 where the run is complete."""
    from ganbench.session import train_run

    lighten()
    if trap is not None:
        trap.arm()
    return 0 if train_run(config).ok else 1


@dataclass(frozen=True)
class Signals:
    """The process sends itself `numbers` after the first critic update of step `step`, counted from 0.

    More than one with a second between them: sooner they are one.
    """

    step: int
    numbers: tuple[int, ...]

    def arm(self) -> None:
        """Put the trap into this process."""
        from ganbench.engine.loop import Training
        from ganbench.engine.signals import ECHO_SECONDS
        from ganbench.engine.step import Step

        advance, update = Training.advance, Step._update_discriminator
        due = False

        def watched(self_: Training) -> None:
            nonlocal due
            due = self_.step == self.step
            advance(self_)

        def trapped(*arguments: Any) -> Any:
            nonlocal due
            updated = update(*arguments)
            if due:
                due = False
                for index, number in enumerate(self.numbers):
                    time.sleep(ECHO_SECONDS if index else 0)
                    os.kill(os.getpid(), number)
            return updated

        Training.advance = watched  # type: ignore[method-assign,assignment]
        Step._update_discriminator = trapped  # type: ignore[method-assign,assignment]


def train_interrupted(config: Config, trap: Signals) -> int:
    """Train up to a signal; 128 + its number, as the command line ends."""
    from ganbench.engine.signals import Interrupted

    try:
        return train(config, trap)
    except Interrupted as error:
        return 128 + error.signum


def train_to_checkpoint(config: Config, moment: str) -> int:
    """Train, and be killed while the next checkpoint is written."""
    from ganbench.runs import RunDirectory

    rotate = RunDirectory.rotate_checkpoint

    def doomed(self: RunDirectory, data: bytes) -> None:
        point = "fsync" if moment == "half" else "replace"
        # The first replacement is that of the checkpoint before.
        Sabotage(point, 1 if moment == "half" else 2, moment).arm()
        rotate(self, data)

    RunDirectory.rotate_checkpoint = doomed  # type: ignore[method-assign]
    return train(config)


def command(arguments: Sequence[str], folder: Path, trap: Signals | None = None) -> int:
    """``ganbench ARGUMENTS`` in this process, in `folder`."""
    from ganbench.cli import main

    lighten()
    os.chdir(folder)
    if trap is not None:
        trap.arm()
    return main(list(arguments))


def _in_child(log: str, function: Callable[..., int], arguments: Sequence[Any]) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.exit(function(*arguments))


# --- what must be equal -----------------------------------------------------------------------------

TIMES = frozenset({"train_seconds", "seconds", "created_at"})


def fingerprint(path: Path) -> dict[str, str]:
    """Hashes of all that a run is: weights, optimisers, random states, history, scores, pictures."""
    from safetensors import safe_open

    from ganbench.engine.checkpoint import from_bytes

    record = runs.read_run(path)
    found: dict[str, Any] = {
        "status": record.status,
        "history": [{key: value for key, value in row.items() if key not in TIMES} for row in record.history],
        "scores": _without_times(record.scores),
    }
    state = _without_times(from_bytes((path / runs.CHECKPOINT).read_bytes()))
    state["history"] = [row[:2] + row[3:] for row in state["history"].tolist()]
    found.update({f"checkpoint: {key}": value for key, value in state.items()})
    for name in runs.GENERATOR.values():
        if (path / name).exists():
            with safe_open(path / name, framework="pt") as file:
                weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
                found[name] = [weights, (file.metadata() or {}).get("step")]
    found.update({f"samples/{image.name}": image.read_bytes() for image in (path / "samples").glob("*.png")})
    return {key: hashlib.sha256(_bytes(value)).hexdigest() for key, value in found.items()}


def differences(first: Mapping[str, str], second: Mapping[str, str]) -> list[str]:
    """Names of what differs between two fingerprints."""
    return [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]


def require_whole(path: Path, except_for: bytes | None = None) -> None:
    """Read every file of a run directory that a reader may look at, but for a checkpoint we damaged.

    Raises:
        Exception: one of them is not whole.
    """
    from safetensors import safe_open

    from ganbench.engine.checkpoint import from_bytes

    if not (path / "run.json").exists():
        return
    if (path / "config.yaml").exists():
        record = runs.read_run(path)
        assert record.status in (runs.INTERRUPTED, runs.COMPLETED), record.status
    read_history(path)
    runs.read_scores(path)
    for name in (runs.CHECKPOINT, runs.PREVIOUS_CHECKPOINT):
        if (path / name).exists() and (content := (path / name).read_bytes()) != except_for:
            from_bytes(content)
    for name in runs.GENERATOR.values():
        if (path / name).exists():
            with safe_open(path / name, framework="pt") as file:
                file.metadata()


def _without_times(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_times(item) for key, item in value.items() if key not in TIMES}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


def _bytes(value: Any) -> bytes:
    """A value of tensors and plain values as bytes that differ where it does."""
    import torch

    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{tuple(value.shape)}".encode() + value.contiguous().numpy().tobytes()
    if isinstance(value, Mapping):
        return (
            b"{" + b",".join(repr(key).encode() + b":" + _bytes(item) for key, item in value.items()) + b"}"
        )
    if isinstance(value, (list, tuple)):
        return b"[" + b",".join(map(_bytes, value)) + b"]"
    return value if isinstance(value, bytes) else repr(value).encode()


# --- the test ---------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What was done to the runs."""

    kills: int = 0
    completed: int = 0
    in_writing: int = 0
    damaged: int = 0
    starts: int = 0
    broken: list[str] = field(default_factory=list)


class Killer:
    """Tortures one recipe in `folder` and compares its end with that of an undisturbed run."""

    def __init__(self, overrides: Sequence[str], folder: Path, rng: random.Random, tally: Tally) -> None:
        """Train the undisturbed run.

        Raises:
            RuntimeError: it did not complete.
        """
        self.folder, self.rng, self.tally = folder, rng, tally
        self.log = folder / "output.txt"
        self.spoiled: bytes | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.config = compose([*overrides, f"output_root={folder / 'calm'}"])
        finish(start(len, "", log=self.log))  # the server is up and its imports are not counted
        began = time.monotonic()
        if finish(start(train, self.config, log=self.log)):
            raise RuntimeError(f"the undisturbed run failed: {self.log.read_text()}")
        self.seconds = time.monotonic() - began
        self.expected = fingerprint(_only_run(folder / "calm"))

    def __call__(self, kills: int) -> None:
        """One run, killed up to `kills` times, then left to complete, then compared."""
        root = self.folder / f"run{self.tally.completed}"
        config = {**self.config, "output_root": str(root)}
        killed = 0
        while True:
            self.tally.starts += 1
            sabotage = self._sabotage() if killed < kills else None
            child = start(train, config, sabotage, log=self.log)
            if sabotage is None and killed < kills:
                child.join(self.rng.uniform(0, 1.2 * self.seconds))
                child.kill()
            code = finish(child)
            if code == 0:
                break
            if code != -signal.SIGKILL:
                raise RuntimeError(f"a start ended with {code}: {self.log.read_text()[-2000:]}")
            killed += 1
            self.tally.kills += 1
            self.tally.in_writing += sabotage is not None
            for path in runs.find_runs(root):
                require_whole(path, self.spoiled)
                self._damage(path)
        self.tally.completed += 1
        different = differences(self.expected, fingerprint(_only_run(root)))
        if different:
            self.tally.broken.append(f"{root}: differs in {', '.join(different)}")

    def _sabotage(self) -> Sabotage | None:
        """Half of the kills hit the process in the middle of writing, the others at any moment."""
        if self.rng.random() < 0.5:
            return None
        point = self.rng.choice(POINTS)
        moment = self.rng.choice(("before", "half", "after"))
        return Sabotage(point, self.rng.randint(1, 4 if point == "link" else 25), moment)

    def _damage(self, path: Path) -> None:
        """Now and then truncate or alter the last checkpoint, where there is one before it."""
        last = path / runs.CHECKPOINT
        if self.rng.random() < 0.2 and (path / runs.PREVIOUS_CHECKPOINT).exists() and last.exists():
            damage(last, self.rng)
            self.spoiled = last.read_bytes()
            self.tally.damaged += 1


def damage(checkpoint: Path, rng: random.Random) -> None:
    """Cut a checkpoint short or alter a byte of its content."""
    # A copy: the file may be the same as the one before it, by hard link.
    content = bytearray(checkpoint.read_bytes())
    if rng.random() < 0.5:
        del content[rng.randrange(len(content)) :]
    else:
        content[len(content) // 2] ^= 1 << rng.randrange(8)
    checkpoint.unlink()
    checkpoint.write_bytes(content)


def torture(
    kills: int, folder: Path, seed: int, recipes: Sequence[Sequence[str]] = RECIPES, per_run: int = 12
) -> Tally:
    """Kill runs of each recipe in turn, `kills` times in all."""
    rng, tally = random.Random(seed), Tally()
    os.environ["GANBENCH_CACHE"] = str(folder / "cache")
    share = -(-kills // len(recipes))
    for index, overrides in enumerate(recipes):
        killer = Killer(overrides, folder / f"recipe{index}", rng, tally)
        goal = min(kills, share * (index + 1))
        while tally.kills < goal:
            killer(min(per_run, goal - tally.kills))
    return tally


def _only_run(root: Path) -> Path:
    (path,) = runs.find_runs(root)
    return path


def main() -> int:
    """Torture and report; 1 where something was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments (the clock adds its own chance)")
    parser.add_argument("--out", type=Path, help="folder of the runs (default: a temporary one)")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        tally = torture(arguments.kills, arguments.out or Path(temporary), arguments.seed)
    print(json.dumps({**vars(tally), "seconds": round(time.monotonic() - began, 1)}, indent=1))
    return 1 if tally.broken else 0


if __name__ == "__main__":
    sys.exit(main())
