"""Separate clocks for training, evaluation and everything else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ganbench.engine.device import synchronize


class Clock:
    """Counts each second of a run once, under ``train``, ``eval`` or ``other``.

    The device is waited for at each change, so that no work is counted under the next name.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = {"train": 0.0, "eval": 0.0, "other": 0.0}
        self._device = device
        self._name = "other"
        self._since = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block under `name`, then go on under the name before."""
        before = self._name
        self._switch(name)
        try:
            yield
        finally:
            self._switch(before)

    def read(self) -> dict[str, float]:
        """Seconds under each name up to now."""
        self._switch(self._name)
        return dict(self.seconds)

    def _switch(self, name: str) -> None:
        synchronize(self._device)
        now = time.perf_counter()
        self.seconds[self._name] += now - self._since
        self._name, self._since = name, now
