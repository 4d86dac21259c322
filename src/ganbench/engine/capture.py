"""A training step as one CUDA graph: a launch instead of a thousand, and no Python between kernels."""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from ganbench.errors import first_line

log = logging.getLogger(__name__)

WARM_UP_CALLS = 3

_broken: list[torch.cuda.CUDAGraph] = []
"""Graphs whose recording failed: torch's allocator still points to them, and to record another is unsafe."""


def recording_failed() -> bool:
    """Whether one has in this process: from then on torch never frees what two streams have used."""
    return bool(_broken)


class Captured:
    """A function of tensors on a CUDA device, recorded once and then replayed.

    The function must be work of the device alone: all that differs between calls is in its inputs, in tensors
    that it changes in place and in the device's random state. Its first calls with inputs of the same shapes
    run eagerly on the stream that records them later; there optimisers make their state and kernels are
    chosen. Inputs of other shapes than the recorded ones (an epoch's last, partial batch) run eagerly, too. A
    replay always returns the same tensor: read it before the next call.

    A function that cannot be recorded goes on eagerly, and a warning says so once.
    """

    def __init__(self, function: Callable[..., Tensor], device: torch.device) -> None:
        self.function = function
        self.device = device
        self.recording: Recording | None = None
        self._calls: Counter[tuple[torch.Size, ...]] = Counter()
        self._refused = False

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        # Our own, not torch's for all graphs: that one belongs to the device which records first.
        return torch.cuda.Stream(self.device)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The function's result for `inputs`."""
        if self.recording is None and not self._refused:
            shapes = tuple(tensor.shape for tensor in inputs)
            self._calls[shapes] += 1
            if self._calls[shapes] <= WARM_UP_CALLS:
                return on_stream(self._stream, self.function, inputs)
            self._record(inputs)
        if self.recording is None or not self.recording.fits(inputs):
            return self.function(*inputs)
        return self.recording.replay(inputs)

    def _record(self, inputs: Sequence[Tensor]) -> None:
        gc.collect()  # a graph of an earlier run must not be torn down in the middle of this recording
        try:
            self.recording = Recording(self.function, inputs, self._stream)
        except RuntimeError as error:
            self._refused = True
            log.warning("compile=true: no CUDA graph of the step (%s); it goes on without", first_line(error))

    def forget(self) -> None:
        """Record anew: after tensors that the function changes were replaced, not changed in place."""
        self._calls.clear()
        self.recording = None


class Recording:
    """One call of a function as a CUDA graph, on copies of the inputs whose place in memory stays.

    Raises:
        RuntimeError: it cannot be recorded; random numbers and streams are as they were.
    """

    def __init__(
        self, function: Callable[..., Tensor], inputs: Sequence[Tensor], stream: torch.cuda.Stream
    ) -> None:
        if _broken:
            raise RuntimeError("an earlier recording failed in this process")
        self._inputs = [tensor.clone() for tensor in inputs]
        self._graph = torch.cuda.CUDAGraph()
        # A recording that CUDA itself breaks off leaves, in torch before 2.15, its stream current and the
        # generator of random numbers refusing every draw: both are put back by hand.
        before = torch.cuda.current_stream(stream.device)
        generator = torch.cuda.default_generators[stream.device.index]
        numbers = generator.clone_state()
        try:
            with torch.cuda.graph(self._graph, stream=stream):
                self._output = function(*self._inputs)
        except BaseException:
            _broken.append(self._graph)
            torch.cuda.set_stream(before)
            generator.graphsafe_set_state(numbers)
            raise

    def fits(self, inputs: Sequence[Tensor]) -> bool:
        """Whether `inputs` have the recorded shapes."""
        return [tensor.shape for tensor in inputs] == [tensor.shape for tensor in self._inputs]

    def replay(self, inputs: Sequence[Tensor]) -> Tensor:
        """The recorded work on other inputs."""
        for held, given in zip(self._inputs, inputs, strict=True):
            held.copy_(given)
        self._graph.replay()
        return self._output


def on_stream(stream: torch.cuda.Stream, function: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
    """Call `function` on another stream than the default one, which CUDA asks of what is recorded later."""
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    try:
        with torch.cuda.stream(stream):
            return function(*inputs)
    finally:
        current.wait_stream(stream)
