"""A training step as one CUDA graph: a launch instead of a thousand, and no Python between kernels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ganbench.errors import first_line

log = logging.getLogger(__name__)

WARM_UP_CALLS = 3


class Captured:
    """A function of tensors on the current CUDA device, recorded once and then replayed.

    The function must be work of the device alone: all that differs between calls is in its inputs, in tensors
    that it changes in place and in the device's random state. Its first calls run eagerly on a stream of
    their own, where optimisers make their state and kernels are chosen; inputs of other shapes than the
    recorded ones (an epoch's last, partial batch) run eagerly, too. A replay always returns the same tensor:
    read it before the next call.

    A function that cannot be recorded goes on eagerly, and a warning says so once.
    """

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.calls = 0
        self.recording: Recording | None = None
        self._refused = False

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's result for `inputs`."""
        self.calls += 1
        if self.calls <= WARM_UP_CALLS:
            return on_side_stream(self.function, inputs)
        if self.recording is None and not self._refused:
            self._record(inputs)
        if self.recording is None or not self.recording.fits(inputs):
            return self.function(*inputs)
        return self.recording.replay(inputs)

    def _record(self, inputs: Sequence[Tensor]) -> None:
        try:
            self.recording = Recording(self.function, inputs)
        except RuntimeError as error:
            self._refused = True
            log.warning("compile=true: no CUDA graph of the step (%s); eager it is", first_line(error))

    def forget(self) -> None:
        """Record anew: after tensors that the function changes were replaced, not changed in place."""
        self.calls, self.recording = 0, None


class Recording:
    """One call of a function as a CUDA graph, on copies of the inputs whose place in memory stays."""

    def __init__(self, function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = function(*self._inputs)

    def fits(self, inputs: Sequence[Tensor]) -> bool:
        """Whether `inputs` have the recorded shapes."""
        return [tensor.shape for tensor in inputs] == [tensor.shape for tensor in self._inputs]

    def replay(self, inputs: Sequence[Tensor]) -> Tensor:
        """The recorded work on other inputs."""
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._output


def on_side_stream(function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Call `function` on another stream than the default one, which CUDA asks of what is recorded later."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        output = function(*inputs)
    torch.cuda.current_stream().wait_stream(stream)
    return output
