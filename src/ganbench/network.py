"""Manners towards a network that may not be there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

TIMEOUT_SECONDS = 5.0
DOWNLOAD_ERRORS = (OSError, RuntimeError, HTTPException)
"""What a library's download fails with."""


@contextmanager
def socket_timeout() -> Iterator[None]:
    """Bound every connection made inside: a library's download would else wait for minutes."""
    previous = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(previous)
