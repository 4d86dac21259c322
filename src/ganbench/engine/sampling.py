"""Images from a generator: the same every time, and without a trace in the training around."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganbench.data import to_uint8
from ganbench.engine.device import float32


@dataclass(frozen=True)
class Samples:
    """Images uint8 N×C×H×W on the host, quantised once; `nonfinite` of them held NaN or inf."""

    images: Tensor
    labels: Tensor | None
    nonfinite: int = 0


def latents(count: int, z_dim: int, seed: int) -> Tensor:
    """Standard normal latents float32 count×Z on the host, a function of the arguments alone."""
    return torch.randn(count, z_dim, generator=torch.Generator().manual_seed(seed))


def generate(
    generator: nn.Module,
    z: Tensor,
    labels: Tensor | None,
    seed: int,
    batch_size: int,
    device: torch.device | str,
) -> Samples:
    """Images of latents N×Z; `labels` int64 N are asked of a conditional generator, None of others.

    `seed` serves generators that draw noise of their own; without any, image i depends on `batch_size` by no
    more than the rounding of sums in another order. The generator is in `eval()` meanwhile and every module's
    mode is restored; the global random state is untouched. A value that is NaN or inf becomes grey in its
    image, which counts as nonfinite.
    """
    device = torch.device(device)
    asked = labels if labels is not None else torch.zeros(len(z), dtype=torch.int64)
    images, nonfinite = [], torch.zeros((), dtype=torch.int64, device=device)
    # Not inference_mode: a tensor that a module kept from it would break later training.
    with _own_random_state(device, seed), evaluating(generator), torch.no_grad(), float32(device):
        for part, part_labels in zip(z.split(batch_size), asked.split(batch_size), strict=True):
            made = generator(part.to(device), part_labels.to(device)).float()
            nonfinite += (~made.flatten(1).isfinite()).any(dim=1).sum()
            images.append(to_uint8(made.nan_to_num(0.0, 0.0, 0.0)).cpu())
    return Samples(torch.cat(images), labels, int(nonfinite))


@contextmanager
def _own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        # Not torch.manual_seed: it would also seed devices whose state is not restored here.
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """`module.eval()` inside, every submodule's own mode after."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
