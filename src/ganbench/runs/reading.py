"""One file of a run directory, whose content nobody vouches for."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ganbench.errors import RunError, first_line
from ganbench.runs.layout import SCHEMA

_MAX_BYTES = {"run.json": 1 << 20, "config.yaml": 1 << 18, "scores.json": 1 << 25, "history.csv": 1 << 28}
_MAX_WEIGHTS_BYTES = 1 << 33
_MAX_DEPTH = 100


class NewerSchemaError(RunError):
    """The run was written by a later version: nothing of it may be touched."""


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


def exists(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        RunError: it cannot be told, say for want of permission.
    """
    try:
        return path.exists()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error


def read_text(folder: Path, name: str) -> str:
    """The text of a file of a run.

    Raises:
        RunError: see `confined`; or not readable, not UTF-8.
    """
    path = confined(folder, name)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def load_json(folder: Path, name: str) -> Any:
    """The content of a JSON file of a run.

    Raises:
        RunError: see `read_text`; or damaged.
    """
    try:
        return json.loads(read_text(folder, name))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{folder / name}: damaged: {first_line(error)}") from error


def load_yaml(folder: Path, name: str) -> Any:
    """The content of a YAML file of a run: plain values that JSON has, too.

    Raises:
        RunError: see `read_text`; or damaged, nested too deep, with an alias or a tag.
    """
    import yaml

    text = read_text(folder, name)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _refuse_unusual(yaml.parse(text, Loader=loader))
        content = yaml.load(text, Loader=loader)
        json.dumps(content)  # a date, say, is no value that a configuration can have
    except Exception as error:  # wrong content fails anywhere in yaml's constructors
        raise RunError(f"{folder / name}: damaged: {first_line(error)}") from error
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


def check_schema(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse content that says no schema, or one that this version does not know.

    Raises:
        NewerSchemaError: written by a later version.
        RunError: damaged.
    """
    schema = content.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        raise RunError(f"{path}: damaged: schema={schema!r} must be a positive integer")
    if schema > SCHEMA:
        raise NewerSchemaError(
            f"{path}: written by a newer ganbench (schema {schema}, this one reads up to {SCHEMA}); "
            "upgrade ganbench"
        )
