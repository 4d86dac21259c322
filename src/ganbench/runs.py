"""The run directory: its only reader and its only writer. Needs no torch.

Every file but the log is written whole or not at all; a process that works in a run directory holds its
lock, which the operating system lets go of when the process dies, however it dies.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import math
import os
import re
import socket
import stat
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from ganbench.errors import RunError

SCHEMA = 1

RUNNING, COMPLETED, DIVERGED, FAILED, INTERRUPTED = STATUSES = (
    "running",
    "completed",
    "diverged",
    "failed",
    "interrupted",
)

HISTORY_COLUMNS = (
    "step",
    "images",
    "train_seconds",
    "d_loss",
    "g_loss",
    "d_penalty",
    "d_real",
    "d_fake",
    "d_accuracy",
    "d_grad_norm",
    "g_grad_norm",
    "diversity",
)

LATER_COLUMNS = ("diversity",)
"""Columns that histories written before them lack."""

CHECKPOINT = "checkpoints/last.pt"
PREVIOUS_CHECKPOINT = "checkpoints/previous.pt"
GENERATOR = {
    "last": "checkpoints/generator.safetensors",
    "best": "checkpoints/generator_best.safetensors",
    "ema": "checkpoints/generator_ema.safetensors",
}

OWN_FOLDERS = ("samples", "plots", "checkpoints", "tensorboard", ".hydra")

OWN_FILES = (
    "config.yaml",
    "run.json",
    "history.csv",
    "scores.json",
    "train.log",
    "samples/step_*.png",
    "samples/final.png",
    "samples/per_class.png",
    "samples/fixed_z.png",
    "samples/neighbours.png",
    "plots/loss_curves.png",
    "plots/scores.png",
    CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    *GENERATOR.values(),
    "tensorboard/events.out.tfevents.*",
    ".hydra/config.yaml",
    ".hydra/hydra.yaml",
    ".hydra/overrides.yaml",
)
"""What `RunDirectory.clear` may delete; anything else in the folder belongs to somebody else."""

_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")

_MAX_BYTES = {
    "run.json": 1 << 20,
    "config.yaml": 1 << 18,
    "scores.json": 1 << 25,
    "history.csv": 1 << 28,
}
_MAX_WEIGHTS_BYTES = 1 << 33
_MAX_DEPTH = 100

# --- reading ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunRecord:
    """What a run directory says of itself. `info` is run.json, `config` is config.yaml."""

    path: Path
    config: dict[str, Any]
    info: dict[str, Any]

    @property
    def status(self) -> str:
        """One of `STATUSES`; a run marked running that no process holds was interrupted."""
        if self.info["status"] == RUNNING and holder(self.path) is None:
            return INTERRUPTED
        return str(self.info["status"])

    @property
    def reason(self) -> str | None:
        """Why the run is not completed, None where it is or goes on."""
        if self.info["status"] == RUNNING and self.status == INTERRUPTED:
            return "its process ended without a word"
        reason = self.info.get("reason")
        return None if reason is None else str(reason)

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """Rows of history.csv as numbers, a missing value as NaN; empty where there is no file."""
        return read_history(self.path)

    @cached_property
    def scores(self) -> list[dict[str, Any]]:
        """Score records in the order they were made; empty where there is no file."""
        return read_scores(self.path)


def find_runs(root: str | Path) -> list[Path]:
    """Every folder at or below `root` that is, or was meant to be, a run directory, sorted.

    Hidden folders and symbolic links are not followed.
    """
    found = []
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if "run.json" in files or {"config.yaml", "train.log"} <= set(files):
            found.append(Path(folder))
            names.clear()
    return sorted(found)


def read_run(path: str | Path) -> RunRecord:
    """Read a run directory.

    Raises:
        RunError: no run directory, damaged files, or a schema newer than this version reads.
    """
    folder = Path(path)
    if not _exists(folder / "run.json"):
        raise RunError(f"{folder}: not a run directory (no run.json); `ganbench train` makes one")
    info = _load_json(folder, "run.json")
    if not isinstance(info, dict):
        raise RunError(f"{folder / 'run.json'}: damaged: must be an object, is {type(info).__name__}")
    _check_schema(folder / "run.json", info)
    if info.get("status") not in STATUSES:
        raise RunError(
            f"{folder / 'run.json'}: damaged: status={info.get('status')!r} is none of {', '.join(STATUSES)}"
        )
    config = _load_yaml(folder, "config.yaml")
    if not isinstance(config, dict):
        raise RunError(f"{folder / 'config.yaml'}: damaged: must be a mapping")
    return RunRecord(folder, config, info)


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """The records of scores.json; empty where there is none.

    Raises:
        RunError: damaged or of a newer schema.
    """
    if not _exists(folder / "scores.json"):
        return []
    records = _load_json(folder, "scores.json")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RunError(f"{folder / 'scores.json'}: damaged: must be a list of objects")
    for record in records:
        _check_schema(folder / "scores.json", record)
    return records


def read_history(folder: Path) -> list[dict[str, float]]:
    """The rows of history.csv with all of `HISTORY_COLUMNS`, every value a float, a missing one NaN.

    Raises:
        RunError: damaged.
    """
    if not _exists(folder / "history.csv"):
        return []
    text = _read_text(folder, "history.csv")
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        known = (*(reader.fieldnames or ()), *LATER_COLUMNS)
        if lacking := [name for name in HISTORY_COLUMNS if name not in known]:
            raise ValueError(f"lacks the column {lacking[0]}")
        rows = [{**row, **{name: row.get(name) for name in LATER_COLUMNS}} for row in reader]
        return [{key: float(value) if value else math.nan for key, value in row.items()} for row in rows]
    except (csv.Error, ValueError, TypeError) as error:
        raise RunError(f"{folder / 'history.csv'}: damaged: {error}") from error


def holder(folder: Path) -> str | None:
    """Who works in the run directory now, as "process P on host H"; None where nobody does."""
    try:
        descriptor = os.open(folder / ".lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        said = os.read(descriptor, 200).decode(errors="replace")
        return "".join(character for character in said if character.isprintable()) or "another process"
    finally:
        os.close(descriptor)
    return None


def confined(folder: Path, name: str) -> Path:
    """The path of a file or folder of a run, which need not exist.

    Raises:
        RunError: a link leads it out of the run directory, it is a pipe or device, or far too big.
    """
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        status = path.stat() if path.exists() else None
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise RunError(f"{path}: cannot be read: {error}") from error
    if not inside:
        raise RunError(f"{path}: leads out of the run directory through a symbolic link; not followed")
    if status is not None and not stat.S_ISDIR(status.st_mode):
        if not stat.S_ISREG(status.st_mode):
            raise RunError(f"{path}: is no regular file; not read")
        limit = _MAX_BYTES.get(name, _MAX_WEIGHTS_BYTES)
        if status.st_size > limit:
            raise RunError(f"{path}: {status.st_size} bytes, more than the {limit} such a file may have")
    return path


# --- writing ----------------------------------------------------------------------------------------


def atomic_write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part."""
    path = Path(path)
    _make_folders(path.parent)
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
            RunError: not writable, held by another process, written by a newer ganbench, or with files
                in it that are not a run's.
        """
        try:
            self._made = _make_folders(self.path)
            # Never through a link: what it leads to would be emptied.
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
            self._lock = os.open(self.path / ".lock", flags, 0o644)
        except OSError as error:
            self.discard()
            raise self._unwritable(error) from error
        try:
            self._take_lock(self._lock)
            self._refuse_foreign(os.read(self._lock, 200).startswith(b"process "))
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"process {os.getpid()} on host {socket.gethostname()}".encode(), 0)
        except OSError as error:
            self.discard()
            raise self._unwritable(error) from error
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
        for pattern in OWN_FILES:
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
        text = json.dumps(_finite(self.info), indent=2, ensure_ascii=False, allow_nan=False)
        self._write_text("run.json", text + "\n")

    def write_history(self, rows: Iterable[Sequence[float]]) -> None:
        """Write history.csv from rows in the order of `HISTORY_COLUMNS`."""
        lines = [",".join(HISTORY_COLUMNS)]
        for step, images, *rest in rows:
            lines.append(",".join([str(int(step)), str(int(images)), *map(repr, map(float, rest))]))
        self._write_text("history.csv", "\n".join(lines) + "\n")

    def write_scores(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write scores.json."""
        text = json.dumps(_finite(list(records)), indent=1, ensure_ascii=False, allow_nan=False)
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
            except OSError:  # a file system without hard links
                os.replace(last, previous)
        self._last_is_whole = False
        self.write_bytes(CHECKPOINT, data)
        self._last_is_whole = True

    def _write_text(self, name: str, text: str) -> None:
        self._require_unmoved()
        atomic_write_text(self.path / name, text)

    def _take_lock(self, descriptor: int) -> None:
        for patience in (0.05, 0.05, 0.05, None):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise RunError(f"{self.path}: cannot be locked: {error.strerror}") from error
            # A reader who asks for the holder has the lock for a moment.
            if patience is not None:
                time.sleep(patience)
        who = holder(self.path) or "another process"
        raise RunHeldError(f"{self.path}: held by {who}, which is working on this run")

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

    def _unwritable(self, error: OSError) -> RunError:
        return RunError(
            f"output_root: cannot write the run directory {self.path}: {error.strerror}; "
            "choose a writable folder with output_root=FOLDER"
        )


class RunHeldError(RunError):
    """Another process works on the run."""


class NewerSchemaError(RunError):
    """The run was written by a later version: nothing of it may be touched."""


# --- helpers ----------------------------------------------------------------------------------------


def _make_folders(path: Path) -> list[Path]:
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
            raise
    finally:
        os.close(descriptor)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error


def _is_whole(checkpoint: Path) -> bool:
    """Whether every record of a checkpoint has its checksum; a link is none of ours."""
    if checkpoint.is_symlink() or not checkpoint.is_file():
        return False
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged archive fails anywhere in zipfile
        return False


def _finite(value: Any) -> Any:
    """JSON has no NaN: None stands for it, so that no reader takes it for a number."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _check_schema(path: Path, content: Mapping[str, Any]) -> None:
    schema = content.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise RunError(f"{path}: damaged: schema={schema!r} must be a positive integer")
    if schema > SCHEMA:
        raise NewerSchemaError(
            f"{path}: written by a newer ganbench (schema {schema}, this one reads up to {SCHEMA}); "
            "upgrade ganbench"
        )


def _read_text(folder: Path, name: str) -> str:
    path = confined(folder, name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {error}") from error


def _load_json(folder: Path, name: str) -> Any:
    try:
        return json.loads(_read_text(folder, name))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{folder / name}: damaged: {_first_line(error)}") from error


def _load_yaml(folder: Path, name: str) -> Any:
    import yaml

    text = _read_text(folder, name)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_unusual(yaml.parse(text, Loader=loader))
        content = yaml.load(text, Loader=loader)
        json.dumps(content)  # a date, say, is no value that a configuration can have
    except Exception as error:  # wrong content fails anywhere in yaml's constructors
        raise RunError(f"{folder / name}: damaged: {_first_line(error)}") from error
    return content


def _refuse_unusual(events: Iterator[Any]) -> None:
    """Refuse what no run writes and a reader may choke on, before anything is built from it.

    Raises:
        ValueError: nested too deep, an alias (a few lines of them can stand for millions), or a tag.
    """
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH} levels")
        if kind == "AliasEvent" or getattr(event, "tag", None):
            raise ValueError("holds an alias or a tag")


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
