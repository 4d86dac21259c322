"""Whether a network judges or makes each sample alone.

Where one does, batches can be joined into one pass; where one does not, that would be another training.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ganbench.engine.remedies import MinibatchStd

SAMPLES = 8
LAYERS = (nn.modules.batchnorm._BatchNorm, MinibatchStd)
"""Layers that are known to mix samples."""


def has_mixing_layer(network: nn.Module) -> bool:
    """Whether a layer of the network is known to let the samples of a batch see each other."""
    return any(isinstance(module, LAYERS) for module in network.modules())


@torch.no_grad()
def mixes_samples(network: nn.Module, shape: tuple[int, ...], num_classes: int) -> bool:
    """Whether, by trial, what becomes of a sample of `shape` depends on the others of its batch.

    Of a batch one sample and its label are changed, and nothing else: each pass is that of a copy, with the
    same random numbers, and the same arithmetic gives the same bits. The copies' weights are a little off, as
    a layer may begin at zero. A network that cannot be tried that way is taken for one that mixes. It is on
    the host, and neither it nor the random state is changed.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed CUDA, too
        samples, others = torch.randn(2, SAMPLES, *shape)
        labels = torch.zeros(SAMPLES, dtype=torch.int64)
        try:
            trial = _elsewhere(network)
            before = _outputs(trial, samples, labels)
            for changed in (0, SAMPLES - 1):
                chosen = torch.arange(SAMPLES) == changed
                batch = torch.where(chosen.view(-1, *[1] * len(shape)), others, samples)
                after = _outputs(trial, batch, labels.masked_fill(chosen, num_classes - 1))
                if not torch.equal(before[~chosen], after[~chosen]):
                    return True
        except Exception:  # somebody's own network may fail in any way
            return True
    return False


def _elsewhere(network: nn.Module) -> nn.Module:
    """A copy with each weight moved by a tenth of their spread."""
    moved = copy.deepcopy(network)
    for weight in moved.parameters():
        spread = float(weight.std()) if weight.numel() > 1 else 0.0
        weight.add_(torch.randn_like(weight), alpha=0.1 * (spread or 1.0))
    return moved


def _outputs(network: nn.Module, samples: Tensor, labels: Tensor) -> Tensor:
    torch.default_generator.manual_seed(1)
    return copy.deepcopy(network)(samples, labels)
