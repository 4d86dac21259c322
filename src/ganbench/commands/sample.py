"""`ganbench sample`: images from a trained generator."""

from __future__ import annotations

import argparse
import io
import math
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from ganbench.commands import Parser
from ganbench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from ganbench.engine.sampling import Samples
    from ganbench.generator import TrainedGenerator

LAYOUTS = ("plain", "classes", "fixed-z")
DEFAULT_COUNT = {"plain": 64, "classes": 8, "fixed-z": 8}
MOST = 1_000_000
NPZ_MARK = b"made by ganbench sample"  # the comment of the archive, its last bytes
HEAD_BYTES = 1000  # of a picture, more than says who made it

EPILOG = """layouts: plain, images one after the other (classes in turn where there are any);
classes, a row for each class; fixed-z, a row for each latent with the classes side by side.

examples:
  ganbench sample RUN --class 8 --count 64 --seed 0 --out grid.png
  ganbench sample RUN --layout fixed-z --out same_z.png
  ganbench sample RUN --format png-folder --count 10000 --out images"""


def main(argv: list[str]) -> int:
    """Write the images asked for and say where.

    Raises:
        UserError: bad usage, a run without usable weights, a class that the model doesn't have.
    """
    arguments = parser().parse_args(argv)
    _check(arguments)
    path = _target(arguments)
    from ganbench.engine.sampling import generate
    from ganbench.generator import SAMPLED_AT_ONCE, load_generator
    from ganbench.hardware import resolve_device

    device = resolve_device(arguments.device)
    trained = load_generator(arguments.run, arguments.weights, arguments.trust)
    _check_classes(arguments, trained)
    z, labels, columns = _inputs(arguments, trained)
    network = trained.network.to(device)
    samples = generate(network, z, labels, arguments.seed, SAMPLED_AT_ONCE, device)
    try:
        FORMATS[arguments.format](path, samples, columns)
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    if samples.nonfinite:
        print(f"ganbench: {samples.nonfinite} images hold NaN or inf, shown grey", file=sys.stderr)
    made = f"{len(samples.images)} images of {arguments.run}"
    print(f"{path}: {made}, {arguments.weights} weights, step {trained.step}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags."""
    made = Parser(prog="ganbench sample", description="Images from a trained generator.", epilog=EPILOG)
    add = made.add_argument
    add("run", metavar="RUN", help="run directory")
    add("--class", type=int, dest="label", metavar="C", help="only this class (conditional models)")
    add("--count", type=int, metavar="N", help="images; of each class, or latents, in the other layouts")
    add("--seed", type=int, default=0, metavar="S", help="seed of the latents (default: 0)")
    add("--layout", choices=LAYOUTS, default="plain", help="see below (default: plain)")
    add("--format", choices=tuple(FORMATS), default="grid", help="one picture, arrays, or a file each")
    add("--out", metavar="PATH", help="file or folder (default: samples.png, samples.npz, samples)")
    add("--weights", choices=("last", "best", "ema"), default="last", help="which weights (default: last)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add("--trust", action="store_true", help="import whatever code the run's config.yaml names")
    return made


def _check(arguments: argparse.Namespace) -> None:
    if arguments.count is None:
        arguments.count = DEFAULT_COUNT[arguments.layout]
    if arguments.count < 1:
        raise UserError(f"--count {arguments.count}: must be at least 1")
    if arguments.count > MOST:
        raise UserError(f"--count {arguments.count}: must be at most {MOST}, all are held in memory")
    if arguments.seed < 0:
        raise UserError(f"--seed {arguments.seed}: must be at least 0")
    if arguments.seed >= 2**63:
        raise UserError(f"--seed {arguments.seed}: must be below 2**63")
    suffix = {"grid": ".png", "npz": ".npz"}.get(arguments.format)
    if arguments.out and suffix and Path(arguments.out).suffix.lower() not in (suffix, ""):
        raise UserError(
            f"--out {arguments.out}: --format {arguments.format} writes {suffix} files; name it so"
        )
    if arguments.label is not None and arguments.layout != "plain":
        raise UserError(f"--class {arguments.label}: --layout {arguments.layout} shows every class; drop one")


def _check_classes(arguments: argparse.Namespace, trained: TrainedGenerator) -> None:
    """Refuse a class, or a layout by class, that the model cannot be asked for."""
    if not trained.conditional:
        asked = f"--layout {arguments.layout}" if arguments.layout != "plain" else ""
        asked = f"--class {arguments.label}" if arguments.label is not None else asked
        if asked:
            raise UserError(
                f"{asked}: the model of {arguments.run} is not conditional, it cannot be asked for a class; "
                f"leave {asked.split()[0]} out"
            )
    elif arguments.label is not None and not 0 <= arguments.label < trained.num_classes:
        raise UserError(f"--class {arguments.label}: must lie in 0..{trained.num_classes - 1}")


def _inputs(arguments: argparse.Namespace, trained: TrainedGenerator) -> tuple[Tensor, Tensor | None, int]:
    """Latents N×Z, labels int64 N (None for an unconditional model), and the columns of a grid."""
    import torch

    from ganbench.engine.sampling import latents

    count, kinds = arguments.count, trained.num_classes
    if arguments.layout != "plain" and count * kinds > MOST:
        raise UserError(
            f"--count {count}: --layout {arguments.layout} makes {count * kinds} images of {kinds} classes; "
            f"must be at most {MOST}, all are held in memory"
        )
    classes = torch.arange(kinds)
    if arguments.layout == "classes":
        labels = classes.repeat_interleave(count)
        return latents(len(labels), trained.z_dim, arguments.seed), labels, count
    z = latents(count, trained.z_dim, arguments.seed)
    if arguments.layout == "fixed-z":
        return z.repeat_interleave(kinds, dim=0), classes.repeat(count), kinds
    columns = math.ceil(math.sqrt(count))
    if not trained.conditional:
        return z, None, columns
    if arguments.label is None:
        return z, torch.arange(count) % kinds, columns
    return z, torch.full((count,), arguments.label), columns


def _target(arguments: argparse.Namespace) -> Path:
    """Where to write; before the work, what is there and not this command's is refused."""
    default = {"grid": "samples.png", "npz": "samples.npz"}.get(arguments.format, "samples")
    path = Path(arguments.out or default)
    try:
        if path.is_dir():
            if arguments.format != "png-folder":
                raise UserError(f"--out {path}: is a folder; name a file")
            if any(path.iterdir()):
                raise UserError(f"--out {path}: the folder is not empty; name a new one")
        elif path.exists() and not _is_ours(path):
            raise UserError(
                f"--out {path}: would be written over and is not made by ganbench; name a new file"
            )
    except (OSError, ValueError) as error:
        raise _unwritable(path, error) from error
    return path


def _is_ours(path: Path) -> bool:
    """Whether this command made what is there, by its two ends: somebody else's may be of any size."""
    from ganbench.engine.images import is_ours

    if not path.is_file():
        return False
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        stream.seek(max(0, path.stat().st_size - len(NPZ_MARK)))
        return is_ours(head) or stream.read(len(NPZ_MARK)) == NPZ_MARK


def _unwritable(path: Path, error: Exception) -> UserError:
    return UserError(f"--out {path}: cannot be written: {getattr(error, 'strerror', None) or error}")


def _write_grid(path: Path, samples: Samples, columns: int) -> None:
    from ganbench.engine.images import grid, png
    from ganbench.runs import atomic_write_bytes

    atomic_write_bytes(path, png(grid(samples.images, columns)))


def _write_npz(path: Path, samples: Samples, columns: int) -> None:
    """`images` uint8 N×H×W×C and, of a conditional model, `labels` int64 N."""
    import numpy as np

    from ganbench.runs import atomic_write_bytes

    images = samples.images.permute(0, 2, 3, 1).numpy()
    buffer = io.BytesIO()
    if samples.labels is None:
        np.savez_compressed(buffer, images=images)
    else:
        np.savez_compressed(buffer, images=images, labels=samples.labels.numpy())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = NPZ_MARK
    atomic_write_bytes(path, buffer.getvalue())


def _write_folder(path: Path, samples: Samples, columns: int) -> None:
    """A PNG each, named by number and, of a conditional model, class; the folder is new or empty."""
    from ganbench.engine.images import png

    path.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(samples.images):
        kind = "" if samples.labels is None else f"_class{int(samples.labels[index])}"
        (path / f"{index:06d}{kind}.png").write_bytes(png(image, zoom=1))


FORMATS = {"grid": _write_grid, "npz": _write_npz, "png-folder": _write_folder}
