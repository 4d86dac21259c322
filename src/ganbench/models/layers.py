"""Building blocks that several models share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, layer_norm
from torch.nn.utils.parametrizations import spectral_norm

NORMS = ("none", "batch", "layer", "spectral")
SLOPE = 0.2


def normalised(layer: nn.Module, norm: str, shape: tuple[int, ...]) -> list[nn.Module]:
    """A critic layer and the normalisation of its output, C×H×W or F long in `shape`.

    Layer norm has no gain and bias here: the next layer can represent both, and weight clipping would
    clamp a gain of 1 to .01.

    Raises:
        ValueError: `norm` is not one of `NORMS`.
    """
    if norm == "none":
        return [layer]
    if norm == "spectral":
        return [spectral_norm(layer)]
    if norm == "layer":
        return [layer, LayerNorm(shape)]
    if norm == "batch":
        return [layer, nn.BatchNorm1d(shape[0]) if len(shape) == 1 else nn.BatchNorm2d(shape[0])]
    raise ValueError(f"norm={norm}: must be one of {', '.join(NORMS)}")


class LayerNorm(nn.LayerNorm):
    """`torch.nn.LayerNorm` without gain and bias, on CUDA in the order of channels-last maps in memory.

    All values of a sample are normalised alike, so their order is free. On a CPU that gains nothing: its
    layers take either.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps B×C×H×W or features B×F, each sample to mean 0 and variance 1."""
        if x.ndim != 4 or not x.is_cuda:
            return super().forward(x)
        pixels = x.permute(0, 2, 3, 1)
        return layer_norm(pixels, pixels.shape[1:], eps=self.eps).permute(0, 3, 1, 2)


def layer_widths(features: Sequence[int], *usual: int) -> Sequence[int]:
    """`features`, held to name as many layers as `usual` does.

    Raises:
        ValueError: they do not.
    """
    if len(features) != len(usual):
        raise ValueError(
            f"features={list(features)}: must be {len(usual)} numbers, one for each layer; try {list(usual)}"
        )
    return features


def first_and_last(norm: str) -> str:
    """Normalisation of a critic's input and output layers: spectral norm bounds them, others spare them.

    Radford et al. 2015, section 3: batch norm on the discriminator's input layer makes training unstable.
    """
    return norm if norm == "spectral" else "none"


def label_map(num_classes: int, size: int) -> nn.Sequential:
    """Labels B to one learned image channel B×1×S×S, which a conditional critic sees beside the image."""
    return nn.Sequential(nn.Embedding(num_classes, size**2), nn.Unflatten(1, (1, size, size)))


class Project(nn.Linear):
    """Latents B×Z to a feature map B×C×S×S.

    What a transposed convolution makes of a 1×1 map, as the matrix product that it is: convolution kernels
    are 30 times slower at it in bfloat16 on a CPU. Channels come last in memory, as convolutions like them.
    """

    def __init__(self, z_dim: int, channels: int, size: int, bias: bool = True) -> None:
        super().__init__(z_dim, channels * size**2, bias)
        self.channels, self.size = channels, size

    def forward(self, z: Tensor) -> Tensor:
        """Latents B×Z to a map B×C×S×S."""
        return super().forward(z).view(-1, self.size, self.size, self.channels).permute(0, 3, 1, 2)


class Flatten(nn.Flatten):
    """`torch.nn.Flatten` whose gradient has the layout of its input.

    Else the layers before it get theirs in another layout than their maps, and on a CPU work on the two
    together at a tenth of the speed (LeakyReLU's gradient of 128×128×7×7 in bfloat16: 2.3 instead of 0.2 ms).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps B×C×H×W to B×(C·H·W)."""
        if not torch.compiler.is_compiling() and x.is_cpu and x.requires_grad and _channels_last(x):
            x.register_hook(_to_channels_last)
        return super().forward(x)


# Both without torch's names of layouts, which torch.func.vmap does not know.


def _channels_last(x: Tensor) -> bool:
    return x.ndim == 4 and x.permute(0, 2, 3, 1).is_contiguous() and not x.is_contiguous()


def _to_channels_last(gradient: Tensor | None) -> Tensor | None:
    if gradient is None:  # the second derivative of what does not depend on it
        return None
    return gradient.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


class Dropout(nn.Module):
    """Inverted dropout whose mask costs one random byte an element instead of one float.

    Eight mask elements share a 64-bit draw, about five times as fast as `torch.nn.Dropout` on a CPU. The
    probability is rounded to a multiple of 1/256. On CUDA the mask is torch's own.

    Raises:
        ValueError: `p` is neither 0 nor in (1/512, 255/256].
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        least, most = 1 / 512, 255 / 256
        if p != 0 and not least < p <= most:
            raise ValueError(f"dropout={p}: must be 0 or lie between {least:.4f} and {most:.4f}")
        self.dropped = round(p * 256)

    def forward(self, x: Tensor) -> Tensor:
        """Zero each element with probability p and scale the rest by 1/(1-p), in training only."""
        if not self.training or not self.dropped:
            return x
        if x.is_cuda:  # one kernel there; and torch's compiler breaks its graph at random_
            return dropout(x, self.dropped / 256)
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64, device=x.device)
        # random_() alone leaves the sign bit at 0; with an explicit range all 64 bits are drawn.
        words.random_(-(2**63), None)
        draws = words.view(torch.uint8)[: x.numel()]
        # In the layout of x: a product of two layouts is many times slower.
        draws = draws.as_strided(x.shape, torch.empty_like(x, device="meta").stride())
        return x * (draws >= self.dropped).to(x.dtype).mul_(256 / (256 - self.dropped))


@torch.no_grad()
def normal_init(module: nn.Module) -> None:
    """DCGAN's initialisation for one module: convolutions N(0, .02), norms N(1, .02) and 0.

    Linear layers stand for convolutions of or to a single pixel.
    Source: Radford et al. 2015, arXiv:1511.06434, section 4.
    """
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
        # Under spectral norm `weight` is computed: the tensor to fill is the one it is computed from.
        parametrized = getattr(module, "parametrizations", None)
        weight = parametrized.weight.original if parametrized else module.weight
        nn.init.normal_(weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
