"""Building blocks that several models share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

NORMS = ("none", "batch", "layer", "spectral")
SLOPE = 0.2


def normalised(layer: nn.Module, norm: str, shape: tuple[int, ...]) -> list[nn.Module]:
    """A critic layer and the normalisation of its output, C×H×W or F long in `shape`.

    Layer norm has no gain and bias here: the next layer can represent both, and weight clipping would
    clamp a gain of 1 to .01.
    """
    if norm == "none":
        return [layer]
    if norm == "spectral":
        return [spectral_norm(layer)]
    if norm == "layer":
        return [layer, nn.LayerNorm(shape, elementwise_affine=False)]
    if norm == "batch":
        return [layer, nn.BatchNorm1d(shape[0]) if len(shape) == 1 else nn.BatchNorm2d(shape[0])]
    raise ValueError(f"norm={norm}: must be one of {', '.join(NORMS)}")


def first_and_last(norm: str) -> str:
    """Normalisation of a critic's input and output layers: spectral norm bounds them, others spare them.

    Radford et al. 2015, section 3: batch norm on the discriminator's input layer makes training unstable.
    """
    return norm if norm == "spectral" else "none"


class Dropout(nn.Module):
    """Inverted dropout whose mask costs one random byte an element instead of one float.

    Eight mask elements share a 64-bit draw, about five times as fast as `torch.nn.Dropout` on a CPU. The
    probability is rounded to a multiple of 1/256.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout={p}: must lie in [0, 1)")
        self.dropped = round(p * 256)

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability p and scale the rest by 1/(1-p), in training only."""
        if not self.training or not self.dropped:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        # random_() alone leaves the sign bit at 0; with an explicit range all 64 bits are drawn.
        words.random_(-(2**63), None)
        draws = words.view(torch.uint8)[: x.numel()].view(x.shape)
        return x * (draws >= self.dropped).to(x.dtype).mul_(256 / (256 - self.dropped))


@torch.no_grad()
def normal_init(module: nn.Module) -> None:
    """DCGAN's initialisation for one module: convolutions N(0, .02), norms N(1, .02) and 0.

    Source: Radford et al. 2015, arXiv:1511.06434, section 4.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        # Under spectral norm `weight` is computed: the tensor to fill is the one it is computed from.
        parametrized = getattr(module, "parametrizations", None)
        weight = parametrized.weight.original if parametrized else module.weight
        nn.init.normal_(weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)


@torch.no_grad()
def icnr_(convolution: nn.Conv2d, upscale: int = 2) -> nn.Conv2d:
    """Initialise a convolution before PixelShuffle so that its output starts as nearest-neighbour upscaling.

    Each group of ``upscale²`` output channels gets one kernel, so no checkerboard at the start
    (Aitken et al. 2017, arXiv:1707.02937).
    """
    weight = convolution.weight
    kernels = torch.empty_like(weight[:: upscale**2])
    nn.init.kaiming_normal_(kernels)
    weight.copy_(kernels.repeat_interleave(upscale**2, dim=0))
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution
