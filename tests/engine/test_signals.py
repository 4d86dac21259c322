"""The relay of a sweep: whom a signal stops when a launcher's processes train."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess

import pytest

from ganbench.engine.signals import Interrupted, Relay


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_relay_passes_a_signal_on_to_a_launchers_processes(
    monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    worker = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [worker])
    with Relay() as relay:
        os.kill(os.getpid(), number)
        assert worker.wait(10) == -number
    assert relay.received == number


def test_a_relay_leaves_ctrl_c_to_the_terminal_and_does_not_wait_for_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = subprocess.Popen(["sleep", "60"])
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [worker])
    before = signal.getsignal(signal.SIGINT)
    try:
        with Relay() as relay:
            os.kill(os.getpid(), signal.SIGINT)
            assert relay.received == signal.SIGINT and worker.poll() is None
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), signal.SIGINT)
    finally:
        worker.kill()
        worker.wait()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_relay_without_processes_stops_this_one() -> None:
    with pytest.raises(Interrupted, match="SIGTERM"), Relay():
        os.kill(os.getpid(), signal.SIGTERM)
