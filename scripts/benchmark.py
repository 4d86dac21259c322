"""How fast is the loop? Against the arithmetic's floor and against the way notebooks train.

    python scripts/benchmark.py                      # the table of docs/performance.md
    python scripts/benchmark.py --cases mlp/bce --repeats 3 --steps 50
    python scripts/benchmark.py --compare 100 1000   # seconds of `ganbench compare` on so many runs
    python scripts/benchmark.py --scaling 100000     # time per step and memory as a long run goes on

The same networks are trained with the same batch size on the same real images in several ways, each in a
process of its own, in turn, several times over: `notebook` (torchvision dataset with ToTensor and Normalize
behind a DataLoader, `.item()` after every step, fakes of the D step made with gradients), `float32` (our
loop), `fast` (our loop with `precision=bfloat16`, where the processor has it) and, for a loss with a penalty,
`all` (`precision=bfloat16_penalty`); on CUDA ours with `compile=true`. The notebook's networks are ours in
torch's own modules (PixelShuffle, a transposed convolution of z, Dropout). Times are medians of the repeats,
ratios medians of each repeat's ratios. MB are the parameters, their gradients and optimiser states, each read
and written once an update.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from ganbench.config import Config, compose, instantiate
from ganbench.data import Dataset, build_dataset, data_root
from ganbench.engine.device import set_up, synchronize
from ganbench.engine.gan import build_loss
from ganbench.engine.loop import Training
from ganbench.hardware import native_precision, peak_memory, resolve_device, usable_cores
from ganbench.identity import identity
from ganbench.losses import Loss
from ganbench.memory import use_huge_pages
from ganbench.models.layers import Dropout, Flatten, LayerNorm, Project
from ganbench.models.subpixel import SubPixelConv2d
from ganbench.runs import load_yaml
from ganbench.session import train_run

Timed = Callable[[int], float]
"""Seconds per step over so many steps of one way to train."""

CASES = ("mlp/bce", "dcgan/bce", "cgan/bce", "mlp/wgan_gp", "dcgan/wgan_gp", "cgan/wgan_gp")


@dataclass
class Peak:
    """What the device was measured to reach: FLOP/s of a matrix product, bytes/s of a copy."""

    flops: float
    bandwidth: float


def main() -> None:
    """Measure the cases and print them as a Markdown table."""
    arguments = parse()
    if arguments.compare:
        print("| run directories | seconds of `ganbench compare` |\n|---|---|")
        for count in arguments.compare:
            print(f"| {count:,} | {time_compare(count, arguments.repeats):.2f} |", flush=True)
        return
    if arguments.scaling:
        print("| steps | ms per step | peak memory, MB |\n|---|---|---|", flush=True)
        time_scaling(arguments.scaling, print_part)
        return
    device = resolve_device(arguments.device)
    torch.set_num_threads(arguments.threads)
    dataset = build_dataset(compose(["dataset=mnist"])["dataset"])
    fast = native_precision(str(device))
    peaks = {precision: measure_peak(device, precision) for precision in {"float32", fast}}
    print(describe_machine(device, peaks))
    print(
        "| case | GFLOP/step | MB/step | floor ms | notebook ms | float32 ms | fast ms | all ms | "
        "notebook/float32 | notebook/fast | notebook/all | fast/floor | images/s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for case in arguments.cases:
        print(measure(case, arguments, dataset, device, fast, peaks[fast]), flush=True)


def print_part(first: int, last: int, seconds: float, memory: float) -> None:
    """One row of the table of `--scaling`."""
    print(f"| {first:,} to {last:,} | {1e3 * seconds:.3f} | {memory:.1f} |", flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), metavar="MODEL/LOSS")
    parser.add_argument("--compare", nargs="+", type=int, metavar="RUNS", help="time `ganbench compare`")
    parser.add_argument("--scaling", type=int, metavar="STEPS", help="time the steps of one long run")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=2.0, help="rough length of one measurement")
    parser.add_argument("--steps", type=int, help="steps of one measurement instead of --seconds")
    return parser.parse_args()


def measure(
    case: str, arguments: argparse.Namespace, dataset: Dataset, device: torch.device, fast: str, peak: Peak
) -> str:
    """One row of the table."""
    model, loss = case.split("/")
    config = compose([f"model={model}", f"loss={loss}", "dataset=mnist", f"device={device}"])
    flops, moved = count_work(config, dataset, device)
    floor = max(flops / peak.flops, moved / peak.bandwidth)
    precisions = {"notebook": None, "float32": "float32", "fast": fast}
    if build_loss(config).has_penalty and fast != "float32":
        precisions["all"] = f"{fast}_penalty"
    with ExitStack() as stack:
        ways = {
            name: stack.enter_context(in_own_process(config, device, arguments.threads, precision))
            for name, precision in precisions.items()
        }
        rounds = compare(ways, arguments, device)
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    quick = dict(zip(precisions, medians, strict=True))["fast"]
    blank = [] if "all" in precisions else ["–"]
    milliseconds = " | ".join([*(f"{1e3 * seconds:.2f}" for seconds in (floor, *medians)), *blank])
    ratios = " | ".join([*(f"{ratio:.2f}×" for ratio in speedups(rounds)), *blank])
    shown = config["train"]["batch_size"] * config["loss"]["n_critic"]
    return (
        f"| {case} | {flops / 1e9:.2f} | {moved / 1e6:.0f} | {milliseconds} | {ratios} | "
        f"{quick / floor:.1f}× | {shown / quick:,.0f} |"
    )


@contextmanager
def in_own_process(
    config: Config, device: torch.device, threads: int, precision: str | None
) -> Iterator[Timed]:
    """A way to train in a process that waits between its turns: ours in `precision`, or the notebook's.

    So neither has the other's memory nor what our loop sets for its process.
    """
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    process = spawn.Process(target=serve, args=(there, config, device, threads, precision), daemon=True)
    process.start()
    there.close()  # or the end of the process would not be seen here

    def ask(count: int) -> float:
        here.send(count)
        return float(here.recv())

    try:
        yield ask
    finally:
        here.close()
        process.join()


def serve(
    pipe: Connection, config: Config, device: torch.device, threads: int, precision: str | None
) -> None:
    """Answer each count with the seconds per step, until the other end is closed."""
    if precision is None:
        torch.set_num_threads(threads)
        step = Notebook(config, device).step
    else:
        use_huge_pages()
        set_up(threads, deterministic=False)
        step = our_step(config, build_dataset(config["dataset"]), device, precision)
    try:
        while True:
            pipe.send(timed(step, pipe.recv(), device))
    except EOFError:
        pass


def compare(
    ways: Mapping[str, Timed], arguments: argparse.Namespace, device: torch.device
) -> list[list[float]]:
    """Seconds per step of each way, a row a round in which each has its turn."""
    counts = {}
    for name, run in ways.items():
        trial = 10 if device.type == "cuda" else 1
        run(trial)  # kernels are chosen, a graph is recorded
        counts[name] = arguments.steps or max(1, round(arguments.seconds / run(2 * trial)))
    return [[run(counts[name]) for name, run in ways.items()] for _ in range(arguments.repeats)]


def speedups(rounds: list[list[float]]) -> list[float]:
    """How many times as fast as the first way the others are: medians of each round's own ratios.

    The ways of a round are measured within seconds of each other: where other tenants slow the machine down
    for minutes, ratios of two medians would compare one way's bad minutes with another's good ones.
    """
    return [statistics.median(times[0] / times[way] for times in rounds) for way in range(1, len(rounds[0]))]


def timed(step: Callable[[], object], count: int, device: torch.device) -> float:
    """Seconds per step over `count` steps."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        step()
    synchronize(device)
    return (time.perf_counter() - start) / count


def our_step(config: Config, dataset: Dataset, device: torch.device, precision: str) -> Callable[[], None]:
    """One step of our loop, its bookkeeping included; on CUDA with compile=true."""
    way = {"precision": precision, "compile": device.type == "cuda"}
    training = Training({**config, **way}, dataset, device)
    training.warm_up()
    return training.advance


class Notebook:
    """The training step as teaching notebooks write it, with the same networks, loss and optimisers."""

    def __init__(self, config: Config, device: torch.device) -> None:
        from torchvision import datasets, transforms

        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
        images = datasets.MNIST(str(data_root()), train=True, transform=transform)
        self.loader = DataLoader(
            images, batch_size=config["train"]["batch_size"], shuffle=True, drop_last=True
        )
        self.config, self.device = config, device
        self.loss: Loss = build_loss(config)
        self.generator: nn.Module = textbook(instantiate(config["model"]["generator"])).to(device)
        self.discriminator: nn.Module = textbook(instantiate(config["model"]["discriminator"])).to(device)
        recipe = config["loss"]
        self.g_opt = instantiate(recipe["optimizer"], params=self.generator.parameters())
        self.d_opt = instantiate(recipe["optimizer"], params=self.discriminator.parameters())
        self._batches = self._endless()

    def step(self) -> None:
        """n_critic discriminator updates and a generator update, each loss read at once."""
        for _ in range(self.config["loss"]["n_critic"]):
            real, labels = (tensor.to(self.device) for tensor in next(self._batches))
            fake = self.generator(self._latents(len(real)), labels)
            d_loss = self.loss.d_loss(
                self.discriminator(real, labels), self.discriminator(fake.detach(), labels)
            )
            penalty = self.loss.penalty(partial(self.discriminator, labels=labels), real, fake.detach())
            if penalty is not None:
                d_loss = d_loss + penalty
            self.d_opt.zero_grad()
            d_loss.backward()
            self.d_opt.step()
            self.loss.constrain(self.discriminator)
            d_loss.item()
        fake = self.generator(self._latents(len(real)), labels)
        g_loss = self.loss.g_loss(self.discriminator(fake, labels))
        self.g_opt.zero_grad()
        g_loss.backward()
        self.g_opt.step()
        g_loss.item()

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.config["model"]["z_dim"], device=self.device)

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader


def textbook(network: nn.Module) -> nn.Module:
    """The same network in torch's own modules, as notebooks write it."""
    for name, child in network.named_children():
        setattr(network, name, in_textbooks(child) or textbook(child))
    return network


class TextbookUpscale(nn.Sequential):
    """`SubPixelConv2d` without its short cut behind a projection."""

    def of_projection(self, project: nn.Module, z: Tensor) -> Tensor:
        """Project, convolve and shuffle each sample."""
        return self(project(z))


def in_textbooks(layer: nn.Module) -> nn.Module | None:
    """What stands for one of our own layers in textbooks; None for all others."""
    if isinstance(layer, Dropout):
        return nn.Dropout(layer.dropped / 256)
    if isinstance(layer, Flatten):
        return nn.Flatten()
    if isinstance(layer, LayerNorm):
        return nn.LayerNorm(layer.normalized_shape, elementwise_affine=False)
    if isinstance(layer, SubPixelConv2d):
        return TextbookUpscale(
            nn.Conv2d(layer.in_channels, layer.out_channels, 3, padding=1), nn.PixelShuffle(2)
        )
    if isinstance(layer, Project) and layer.bias is None:  # DCGAN
        transposed = nn.ConvTranspose2d(layer.in_features, layer.channels, layer.size, bias=False)
        return nn.Sequential(nn.Unflatten(1, (-1, 1, 1)), transposed)
    if isinstance(layer, Project):
        shape = (layer.channels, layer.size, layer.size)
        return nn.Sequential(nn.Linear(layer.in_features, layer.out_features), nn.Unflatten(1, shape))
    return None


def count_work(config: Config, dataset: Dataset, device: torch.device) -> tuple[float, float]:
    """FLOP of one step, by torch's counter, and the fewest bytes it must move.

    Bytes: each parameter, its gradient and its two optimiser moments are read and written once per update of
    its network, in float32; images and activations could in principle stay in cache and are left out.
    """
    training = Training(config, dataset, device)
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoModules()  # type: ignore[assignment]
    with counter:
        training.do_step()
    parameters = training.gan.parameter_counts()
    updates = parameters["generator"] + parameters["discriminator"] * config["loss"]["n_critic"]
    return float(counter.get_total_flops()), updates * 4.0 * 2 * 4


class _NoModules:
    """Stands in for the counter's tracker of modules, whose hooks fail on a penalty's inner gradient."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        pass


def time_compare(count: int, repeats: int) -> float:
    """Median seconds of `ganbench compare`, from start to exit, on copies of one real run.

    The copies differ in seed and learning rate, ten seeds a recipe, as a sweep would leave them.
    """
    overrides = ["dataset=digits", "train=smoke", "device=cpu"]
    with tempfile.TemporaryDirectory() as folder:
        template = train_run(compose([*overrides, f"output_root={folder}/template"])).path
        for index in range(count):
            copy_run(template, Path(folder, "runs", f"recipe{index // 10}", f"s{index % 10}"), index)
        command = [sys.executable, "-m", "ganbench", "compare", f"{folder}/runs"]
        return statistics.median(seconds_of(command) for _ in range(repeats))


def time_scaling(steps: int, report: Callable[[int, int, float, float], None]) -> None:
    """Report ten parts of one run of mlp/bce on digits in batches of 8, each as it ends.

    A part is (first step, last step, seconds per step, peak megabytes at its end); the clock is that of
    training alone. The first hundredth warms up and belongs to no part. Batches of 8 leave little arithmetic,
    so that what grows would show.
    """
    marks = {max(1, steps // 100), *(round(steps * part / 10) for part in range(1, 11))}
    found: list[tuple[int, float]] = []
    advance = Training.advance

    def measured(self: Training) -> None:
        advance(self)
        if self.step not in marks:
            return
        found.append((self.step, self.clock.read()["train"]))
        if len(found) > 1:
            (first, before), (last, seconds) = found[-2:]
            report(first, last, (seconds - before) / (last - first), peak_memory(self.device) / 2**20)

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(Training, "advance", measured):
        small = ["dataset=digits", "train.batch_size=8", "device=cpu", "eval.enabled=false"]
        train_run(compose([*small, f"train.steps={steps}", f"output_root={folder}"]))


def copy_run(template: Path, target: Path, index: int) -> None:
    """Copy a run's readable files and make it recipe `index // 10`, seed `index % 10`."""
    target.mkdir(parents=True)
    for name in ("history.csv", "scores.json"):
        shutil.copy(template / name, target / name)
    config = OmegaConf.load(template / "config.yaml")
    config.seed = index % 10
    config.loss.g_lr = 1e-4 * (1 + index // 10)
    OmegaConf.save(config, target / "config.yaml")
    info = json.loads((template / "run.json").read_text())
    info.update(seed=config.seed, config_hash=identity(load_yaml(target, "config.yaml")))
    (target / "run.json").write_text(json.dumps(info))


def seconds_of(command: list[str]) -> float:
    """Wall seconds of a process that must succeed."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure_peak(device: torch.device, precision: str, size: int = 2048, copies: int = 1 << 28) -> Peak:
    """The best of five: a size×size matrix product and a copy of `copies` bytes, read and written."""
    dtype = getattr(torch, precision)
    size, count = (4 * size, 20) if device.type == "cuda" else (size, 4)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    source = torch.empty(copies, dtype=torch.uint8, device=device).random_()
    target = torch.empty_like(source)
    product = min(timed(lambda: torch.mm(left, right), count, device) for _ in range(5))
    copy = min(timed(lambda: target.copy_(source), count // 2, device) for _ in range(5))
    return Peak(2 * size**3 / product, 2 * copies / copy)


def describe_machine(device: torch.device, peaks: dict[str, Peak]) -> str:
    """The machine and its measured peaks in words."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    rates = "; ".join(
        f"{precision}: {peak.flops / 1e9:,.0f} GFLOP/s, {peak.bandwidth / 1e9:.1f} GB/s"
        for precision, peak in sorted(peaks.items())
    )
    return f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}. Measured peak: {rates}.\n"


def processor_name() -> str:
    """The processor's name as Linux gives it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
