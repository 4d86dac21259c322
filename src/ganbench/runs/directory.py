"""Write access to a run directory."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import socket
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ganbench.errors import RunError
from ganbench.runs.atomic import atomic_write_bytes, atomic_write_text, make_folders
from ganbench.runs.history import history_csv
from ganbench.runs.layout import CHECKPOINT, OWN_FILES, OWN_FOLDERS, PREVIOUS_CHECKPOINT
from ganbench.runs.lock import is_ours, take_lock
from ganbench.runs.reading import NewerSchemaError, confined
from ganbench.runs.record import read_run

_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")


class UnwritableError(RunError):
    """The system does not let us write a run directory."""


class RunDirectory:
    """Write access to one run directory, held by lock until `close`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.info: dict[str, Any] = {}
        self._lock: int | None = None
        self._made: list[Path] = []
        self._last_is_whole = False

    def open(self) -> RunDirectory:
        """Make the folder where needed and take its lock.

        Raises:
            UnwritableError: not writable.
            RunError: held by another process, written by a newer ganbench, or with files
                in it that are not a run's.
        """
        try:
            self._made = make_folders(self.path)
            # Never through a link: what it leads to would be emptied.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            self._lock = os.open(self.path / ".lock", flags, 0o644)
            take_lock(self._lock, self.path)
            self._refuse_foreign(is_ours(os.read(self._lock, 200)))
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"process {os.getpid()} on host {socket.gethostname()}".encode(), 0)
        except OSError as error:
            self.discard()
            raise UnwritableError(
                f"cannot write the run directory {self.path}: {error.strerror}; make it writable"
            ) from error
        except RunError:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Let go of the lock."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def discard(self) -> None:
        """Undo `open` on a run that was refused: leave no half-made folder behind."""
        self.close()
        if self._made:
            (self.path / ".lock").unlink(missing_ok=True)
        for folder in reversed(self._made):
            try:
                folder.rmdir()
            except OSError:
                return

    def clear(self) -> None:
        """Delete what an earlier run left here, and nothing else."""
        self.sweep_temporaries()
        # Killed in between, it must leave neither a record of a whole run nor a checkpoint to go on from.
        for pattern in ("run.json", CHECKPOINT, PREVIOUS_CHECKPOINT, *OWN_FILES):
            for path in self.path.glob(pattern):
                if path.is_file() or path.is_symlink():
                    path.unlink()

    def sweep_temporaries(self) -> None:
        """Delete what a killed process was writing."""
        for folder in ("", *OWN_FOLDERS):
            for path in self.path.glob(f"{folder}/.*.tmp".lstrip("/")):
                name = _TEMPORARY.fullmatch(path.name)
                own = name and any(
                    fnmatchcase(f"{folder}/{name[1]}".lstrip("/"), pattern) for pattern in OWN_FILES
                )
                if own and (path.is_file() or path.is_symlink()):
                    path.unlink()

    def write_config(self, text: str) -> None:
        """Write config.yaml."""
        self._write_text("config.yaml", text)

    def write_info(self, **changes: Any) -> None:
        """Update run.json; values that are not finite numbers are written as null."""
        self.info.update(changes)
        text = json.dumps(without_nan(self.info), indent=2, ensure_ascii=False, allow_nan=False)
        self._write_text("run.json", text + "\n")

    def write_history(self, rows: Iterable[Sequence[float]]) -> None:
        """Write history.csv from rows in the order of `HISTORY_COLUMNS`."""
        self._write_text("history.csv", history_csv(rows))

    def write_scores(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write scores.json."""
        text = json.dumps(without_nan(list(records)), indent=1, ensure_ascii=False, allow_nan=False)
        self._write_text("scores.json", text + "\n")

    def write_bytes(self, name: str, data: bytes) -> None:
        """Write any file of the run, by its name below the run directory.

        Raises:
            OSError: a full disk and its like, or the folder is not the one that was opened any more.
        """
        self._require_unmoved()
        atomic_write_bytes(self.path / name, data)

    def rotate_checkpoint(self, data: bytes) -> None:
        """Write a new last checkpoint and keep the one before it; at every moment one is whole."""
        self._require_unmoved()
        last, previous = self.path / CHECKPOINT, self.path / PREVIOUS_CHECKPOINT
        # A damaged one must not push out the one before it, from which the run was resumed.
        if self._last_is_whole or _is_whole(last):
            spare = previous.with_name(f".{previous.name}.{os.getpid()}.tmp")
            spare.unlink(missing_ok=True)
            try:
                os.link(last, spare)
                os.replace(spare, previous)
                # Where both were one file already, that did nothing.
                spare.unlink(missing_ok=True)
            except OSError:  # a file system without hard links
                os.replace(last, previous)
        self._last_is_whole = False
        self.write_bytes(CHECKPOINT, data)
        self._last_is_whole = True

    def _write_text(self, name: str, text: str) -> None:
        self._require_unmoved()
        atomic_write_text(self.path / name, text)

    def _refuse_foreign(self, was_ours: bool) -> None:
        """Refuse a folder in which a run would write over, or through, what is not a run's."""
        for name in (*OWN_FOLDERS, "train.log"):
            if (self.path / name).is_symlink():
                raise RunError(f"{self.path / name}: is a symbolic link, through which no run writes")
            confined(self.path, name)
        try:
            read_run(self.path)
        except NewerSchemaError:
            raise
        except RunError as error:
            found = [path for pattern in OWN_FILES for path in self.path.glob(pattern)]
            if found and not was_ours:
                raise RunError(
                    f"{found[0]}: would be written over, but {self.path} is no run directory that "
                    f"ganbench made ({error}); choose another folder"
                ) from error

    def _require_unmoved(self) -> None:
        """Refuse to make a folder anew that was moved or deleted while its run goes on."""
        if self._lock is None:
            return
        try:
            unmoved = os.path.samestat(os.stat(self.path / ".lock"), os.fstat(self._lock))
        except FileNotFoundError:
            unmoved = False
        if not unmoved:
            reason = "the run directory was moved, deleted or replaced while the run was working in it"
            raise FileNotFoundError(errno.ENOENT, reason, str(self.path))


def _is_whole(checkpoint: Path) -> bool:
    """Whether every record of a checkpoint has its checksum; a link is none of ours."""
    if checkpoint.is_symlink() or not checkpoint.is_file():
        return False
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged archive fails anywhere in zipfile
        return False


def without_nan(value: Any) -> Any:
    """JSON has no NaN: None stands for it, so that no reader takes it for a number."""
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
