"""The relay of a sweep: whom a signal stops when a launcher's processes train."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
from types import SimpleNamespace

import pytest

from ganbench.engine.signals import CAUGHT, ECHO_SECONDS, Interrupted, Relay


@pytest.mark.parametrize("number", CAUGHT)
def test_a_relay_passes_a_signal_on_to_a_launchers_processes(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    # What was started in the background ignores SIGINT, and so do its children.
    worker = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [worker])
    with Relay() as relay:
        os.kill(os.getpid(), number)
        assert worker.wait(10) == -number
    assert relay.received == number


def test_a_relay_waits_through_the_echo_but_not_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SimpleNamespace(pid=os.getpid())  # passing a signal on echoes it here
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [worker])
    now = [0.0]
    monkeypatch.setattr("ganbench.engine.signals.time", SimpleNamespace(monotonic=lambda: now[0]))
    before = signal.getsignal(signal.SIGINT)
    with Relay() as relay:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        monkeypatch.setattr(multiprocessing, "active_children", list)  # and it has ended since
        os.kill(os.getpid(), signal.SIGTERM)
        assert relay.received == signal.SIGINT
        now[0] += ECHO_SECONDS
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_relay_without_processes_stops_this_one() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), Relay():
        os.kill(os.getpid(), signal.SIGTERM)
