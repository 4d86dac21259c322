"""Whether a network judges or makes each sample alone.

Where one does, batches can be joined into one pass; where one does not, that would be another training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ganbench.errors import MISTAKES

SAMPLES = 4
ROUNDING = 1e-5
"""Of the largest output: what the same arithmetic on the same sample may differ by."""


@torch.no_grad()
def mixes_samples(network: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether what becomes of a sample of `shape` depends on the others of its batch, as with batch norm.

    One sample of a batch is changed, and nothing else: neither the random numbers nor the state, which is a
    copy. The weights are others than the network's, as a layer may begin at zero. A network that cannot be
    tried that way is taken for one that mixes. It is on the host.
    """
    labels = torch.zeros(SAMPLES, dtype=torch.int64)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed CUDA, too
        samples = torch.randn(SAMPLES, *shape)
        changed = torch.cat([samples[:-1], -samples[-1:]])
        try:
            weights = {name: _elsewhere(weight) for name, weight in network.named_parameters()}
            first, second = (_outputs(network, weights, batch, labels)[:-1] for batch in (samples, changed))
        except MISTAKES:
            return True
    return not bool(((first - second).abs() <= ROUNDING * first.abs().max()).all())


def _elsewhere(weight: Tensor) -> Tensor:
    """Other weights: a few random numbers are enough, a million cost time at every start."""
    return weight + 0.1 * torch.randn(weight.shape[-1:], dtype=weight.dtype)


def _outputs(network: nn.Module, weights: dict[str, Tensor], samples: Tensor, labels: Tensor) -> Tensor:
    torch.default_generator.manual_seed(1)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return functional_call(network, {**weights, **buffers}, (samples, labels))
