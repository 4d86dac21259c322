"""Stopping on a signal: the step is finished first, and a second signal does not wait.

A signal may reach a process more than once: `timeout`, Slurm, systemd and a terminal send it to a whole group
of processes, and a sweep passes it on as well. What follows the first within a second is its echo.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ECHO_SECONDS = 1.0


class Interrupted(BaseException):
    """A signal asked the process to stop. No `Exception`: nothing on the way may swallow it."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class _First:
    """The first signal, once it has come."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._came_at = 0.0

    def note(self, signum: int) -> bool:
        """Take note of a signal; whether it is the first."""
        if self.signum is not None:
            return False
        self.signum, self._came_at = signum, time.monotonic()
        return True

    def echo_is_over(self) -> bool:
        """Whether a signal that comes now is another one."""
        return self.signum is not None and time.monotonic() - self._came_at >= ECHO_SECONDS


class Relay:
    """Context in which a signal stops the processes that a sweep's launcher started, not this one.

    They end in good order and this process with them; `received` is then the signal. A second one raises
    `Interrupted`, and so does the first where there are no such processes.
    """

    def __init__(self) -> None:
        self._first = _First()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Relay:
        self._before = _caught(self._on_signal)
        return self

    def __exit__(self, *exception: object) -> None:
        _restore(self._before)

    @property
    def received(self) -> int | None:
        """The signal that was passed on."""
        return self._first.signum

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._first.echo_is_over():
            raise Interrupted(signum)
        if self._first.signum is not None:
            return
        workers = multiprocessing.active_children()
        if not workers:
            raise Interrupted(signum)
        self._first.note(signum)
        for worker in workers:
            if worker.pid is not None:
                os.kill(worker.pid, signum)


class StopSignals:
    """Context in which the first signal raises `Interrupted`, at once or at the end of a deferred block."""

    def __init__(self) -> None:
        self._first = _First()
        self._deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._before = _caught(self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _restore(self._before)
        if error is None:  # one that came while the run ended otherwise: a sweep must not go on
            self.check()

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block that is finished before the signal has its effect."""
        outer = self._deferred
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = outer
        self.check()

    def check(self) -> None:
        """Raise what was deferred.

        Raises:
            Interrupted: a signal has come.
        """
        if self._first.signum is not None and not self._deferred:
            raise Interrupted(self._first.signum)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._first.echo_is_over():
            os._exit(128 + signum)
        if self._first.note(signum):
            self.check()


def _caught(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Hand the signals to `handler`; the handlers before."""
    # Python runs signal handlers in the main thread alone; elsewhere the caller's own stay.
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.signal(number, handler) for number in CAUGHT}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
