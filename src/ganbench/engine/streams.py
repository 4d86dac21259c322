"""Work beside other work: kernels of networks this small leave most of a GPU idle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch

from ganbench.engine.capture import recording_failed

T = TypeVar("T")

MISMATCH = "set_warn_on_accumulate_grad_stream_mismatch"


@dataclass(frozen=True)
class Pending(Generic[T]):
    """A result whose kernels may still run on another stream."""

    result: T
    done: torch.cuda.Event | None = None

    def get(self) -> T:
        """The result, for use on the current stream, which waits for it.

        Keep a reference to it until the next `begin` if other work, a backward pass too, runs on the side
        stream before: its memory is that stream's, which could hand it out while the current one still reads.
        """
        if self.done is not None:
            torch.cuda.current_stream(self.done.device).wait_event(self.done)
        return self.result


class SideStream:
    """A second stream of a CUDA device; on any other device work is done at once, in its place.

    The host's order, and with it the order of random numbers, is that of the calls either way.
    """

    def __init__(self, device: torch.device, allowed: bool = True) -> None:
        self._stream = torch.cuda.Stream(device) if allowed and device.type == "cuda" else None
        # Gradients of one weight may come from two streams here, of which torch warns as of a mistake.
        if self._stream is not None and hasattr(torch.autograd.graph, MISMATCH):
            getattr(torch.autograd.graph, MISMATCH)(False)

    def begin(self) -> None:
        """Let what runs here from now on see what the current stream was given so far, and nothing later."""
        if self._stream is not None and not recording_failed():
            self._stream.wait_stream(torch.cuda.current_stream(self._stream.device))

    def run(self, work: Callable[[], T]) -> Pending[T]:
        """Do `work`, which neither needs nor changes anything of the current stream's since `begin`."""
        if self._stream is None or recording_failed():
            return Pending(work())
        with torch.cuda.stream(self._stream):
            result = work()
            return Pending(result, self._stream.record_event())
