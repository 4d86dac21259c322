"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    path = Path(path)
    make_folders(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Left by a dead process of the same number, or a link planted there: never written through.
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename = str(path)  # a full disk does not say of itself where it is
        temporary.unlink(missing_ok=True)
        raise


def atomic_write_text(path: str | Path, text: str) -> None:
    """`atomic_write_bytes` in UTF-8; what a file name may hold beyond Unicode is written as an escape."""
    atomic_write_bytes(path, text.encode(errors="backslashreplace"))


def make_folders(path: Path) -> list[Path]:
    """`mkdir -p` that says which folders it made, outermost first."""
    missing = []
    for folder in [path, *path.parents]:
        if folder.exists():
            break
        missing.append(folder)
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing[::-1]:
        _sync_folder(folder.parent)
    return missing[::-1]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems sync no folders
            error.filename = str(folder)
            raise
    finally:
        os.close(descriptor)
