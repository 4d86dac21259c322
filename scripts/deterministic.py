"""What ``deterministic=true`` costs: processor time of a training step with and without it, taken in turn.

    python scripts/deterministic.py

Processor time of one thread, not that of the clock: other work on the machine hardly changes it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from ganbench.config import compose
from ganbench.data import build_dataset
from ganbench.engine.device import set_up
from ganbench.engine.loop import Training

CASES = ("mlp/bce", "mlp/wgan_gp", "dcgan/bce", "cgan/sn_hinge")


def milliseconds(training: Training, deterministic: bool, steps: int) -> float:
    """Processor time of a step, the mean of `steps`."""
    set_up(1, deterministic)
    training.advance()
    began = time.process_time()
    for _ in range(steps):
        training.advance()
    return (time.process_time() - began) / steps * 1e3


def measure(case: str, repeats: int, seconds: float) -> tuple[float, float]:
    """Medians without and with, of `repeats` measurements of about `seconds` each."""
    model, loss = case.split("/")
    config = compose(
        ["dataset=digits", f"model={model}", f"loss={loss}", "device=cpu", "train.batch_size=64"]
    )
    training = Training(config, build_dataset(config["dataset"]), torch.device("cpu"))
    steps = max(1, int(seconds * 1e3 / milliseconds(training, False, 1)))
    taken: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(repeats):
        for deterministic, times in taken.items():
            times.append(milliseconds(training, deterministic, steps))
    return statistics.median(taken[False]), statistics.median(taken[True])


def main() -> None:
    """Measure and print a row a case."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="MODEL/LOSS")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="rough length of one measurement")
    arguments = parser.parse_args()
    print("| case | ms | deterministic ms | ratio |\n|---|---|---|---|")
    for case in arguments.cases:
        without, with_ = measure(case, arguments.repeats, arguments.seconds)
        print(f"| {case} | {without:.2f} | {with_:.2f} | {with_ / without:.3f} |", flush=True)


if __name__ == "__main__":
    main()
