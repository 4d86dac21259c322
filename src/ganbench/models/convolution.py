"""Convolutions that compute as matrix products of patches where those are faster than torch's own kernels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ganbench.hardware import has_amx
from ganbench.models import im2col

FEWEST_CHANNELS = 16
"""Of maps whose patches pay: those of fewer are copied in pieces too short to gain by it."""

MOST_VALUES = 2**24
"""Of all patches together: copying more takes longer than it saves."""

_penalty_on_cuda = False


@contextmanager
def using_im2col(device: torch.device) -> Iterator[None]:
    """A block in which every `Conv2d` on CUDA computes by `traceable_conv2d`; elsewhere that is slower."""
    global _penalty_on_cuda
    before, _penalty_on_cuda = _penalty_on_cuda, device.type == "cuda"
    try:
        yield
    finally:
        _penalty_on_cuda = before


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, by products of patches in a block of `using_im2col` and where `patches_pay`."""

    def forward(self, input: Tensor) -> Tensor:
        """Maps B×C×H×W to B×C'×H'×W'."""
        usual = self.groups == 1 and self.padding_mode == "zeros"
        fits = input.ndim == 4 and input.shape[1] == self.in_channels  # torch says best what does not
        if not usual or not fits or isinstance(self.padding, str):
            return super().forward(input)
        if _penalty_on_cuda:
            return im2col.traceable_conv2d(
                input, self.weight, self.bias, self.stride, self.padding, self.dilation
            )
        if self.dilation != (1, 1):
            return super().forward(input)
        return conv2d(input, self.weight, self.bias, self.stride, self.padding)


class ConvTranspose2d(nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d`, without bias by products of patches where `patches_pay`."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Maps B×C×H×W to B×C'×H'×W'."""
        usual = self.groups == 1 and self.dilation == (1, 1) and self.bias is None and input.ndim == 4
        if not usual or output_size is not None or any(self.output_padding):
            return super().forward(input, output_size)
        if not patches_pay(input, self.weight, patches=_pixels(input)):
            return super().forward(input)
        images, weight = input.to(torch.bfloat16), self.weight.to(torch.bfloat16)
        return im2col.conv_transpose2d(images, weight, self.stride, self.padding)  # type: ignore[arg-type]


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
) -> Tensor:
    """`torch.conv2d` of B×C×H×W, by products of patches where they pay."""
    if not patches_pay(input, weight, patches=_pixels(input) // (stride[0] * stride[1])):
        return torch.conv2d(input, weight, bias, stride, padding)
    kernels, biases = weight.to(torch.bfloat16), None if bias is None else bias.to(torch.bfloat16)
    return im2col.conv2d(input.to(torch.bfloat16), kernels, biases, stride, padding)


def patches_pay(input: Tensor, weight: Tensor, patches: int) -> bool:
    """Whether products of so many patches are the faster way to the weights' gradient.

    They are in bfloat16 on a CPU with AMX. With avx512_bf16 alone, as in float32, they take as long as
    oneDNN's convolutions. A pass without gradients takes them, too, so that it gives the same numbers as one
    with.
    """
    return (
        not torch.compiler.is_compiling()
        and input.is_cpu
        and has_amx()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") is torch.bfloat16
        and {input.dtype, weight.dtype} <= {torch.float32, torch.bfloat16}  # what autocast would cast
        and weight.shape[1] >= FEWEST_CHANNELS
        and patches * weight.shape[1:].numel() <= MOST_VALUES
        and weight.requires_grad
        and not torch._C._are_functorch_transforms_active()  # whose gradients want other functions
    )


def _pixels(maps: Tensor) -> int:
    return len(maps) * maps.shape[2:].numel()
