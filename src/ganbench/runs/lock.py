"""Who works in a run directory: a lock that ends with its process, and names it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path

from ganbench.errors import RunError


class RunHeldError(RunError):
    """Another process works on the run."""


def holder(folder: Path) -> str | None:
    """Who works in the run directory now, as "process P on host H"; None where nobody does."""
    if (descriptor := _open(folder)) is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        said = os.read(descriptor, 200).decode(errors="replace")
        return "".join(character for character in said if character.isprintable()) or "another process"
    finally:
        os.close(descriptor)
    return None


def was_held(folder: Path) -> bool:
    """Whether a process of ganbench's has worked in the folder, as its lock file then says."""
    if (descriptor := _open(folder)) is None:
        return False
    try:
        return is_ours(os.read(descriptor, 200))
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _open(folder: Path) -> int | None:
    try:
        return os.open(folder / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None


def is_ours(said: bytes) -> bool:
    """Whether this is what ganbench writes into a lock file."""
    return said.startswith(b"process ")


def take_lock(descriptor: int, folder: Path) -> None:
    """Lock the open lock file of a run directory for writing.

    Raises:
        RunHeldError: another process works there.
        RunError: the file system has no locks.
    """
    for patience in (0.05, 0.05, 0.05, None):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise RunError(f"{folder}: cannot be locked: {error.strerror}") from error
        # A reader who asks for the holder has the lock for a moment.
        if patience is not None:
            time.sleep(patience)
    who = holder(folder) or "another process"
    raise RunHeldError(f"{folder}: held by {who}, which is working on this run")
