"""train.log: what ganbench says while it works on a run."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

from ganbench.errors import RunError


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Send everything ganbench logs in this block, down to debug, into the file as well.

    Raises:
        RunError: it cannot be opened.
    """
    try:
        handler = _LogFile(path, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written: {error.strerror}; move it away, or choose another folder"
        ) from error
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("ganbench")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


class _LogFile(logging.FileHandler):
    """A log that a full disk cuts short, and that is all: not the outcome, not a stop, no traceback."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Let go what cannot be written."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close, whatever is left unwritten."""
        with contextlib.suppress(OSError):
            super().close()
