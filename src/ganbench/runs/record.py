"""Runs found, and what a run directory says of itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ganbench.errors import RunError
from ganbench.identity import identity
from ganbench.runs.history import read_history
from ganbench.runs.layout import INTERRUPTED, OWN_FOLDERS, RUNNING, STATUSES
from ganbench.runs.lock import holder
from ganbench.runs.reading import check_schema, exists, load_json, load_yaml


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

    def require_unchanged(self) -> None:
        """Refuse a configuration that is not the one its run was trained by.

        Raises:
            RunError: config.yaml has another hash than run.json says.
        """
        trained = self.info.get("config_hash")
        if trained is None:
            return
        try:
            found = identity(self.config)
        except (AttributeError, TypeError):  # a group that is no mapping
            found = "none"
        if found != trained:
            raise RunError(
                f"{self.path}: config.yaml is not the one this run was trained by (config_hash "
                f"{str(trained)[:8]}, this file's {found[:8]}): put it back, or train it as a run of its own "
                "by `ganbench train config.yaml`"
            )

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """Rows of history.csv as numbers, a missing value as NaN; empty where there is no file.

        Raises:
            RunError: damaged.
        """
        return read_history(self.path)

    @cached_property
    def scores(self) -> list[dict[str, Any]]:
        """Score records in the order they were made; empty where there is no file.

        Raises:
            NewerSchemaError: written by a later version.
            RunError: damaged.
        """
        return read_scores(self.path)


def find_runs(root: str | Path) -> list[Path]:
    """Every folder at or below `root` that is, or was meant to be, a run directory, sorted.

    Those that an ``output_root`` within a run directory has put there are among them, and folders that cannot
    be listed: nobody knows what they hold. Hidden folders and symbolic links are not followed.
    """
    found: list[Path] = []

    def unlisted(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            found.append(Path(error.filename))

    for folder, names, files in os.walk(root, onerror=unlisted):
        names[:] = sorted(name for name in names if not name.startswith("."))
        if "run.json" in files or {"config.yaml", "train.log"} <= set(files):
            found.append(Path(folder))
            names[:] = [name for name in names if name not in OWN_FOLDERS]
    return sorted(found)


def read_run(path: str | Path) -> RunRecord:
    """Read a run directory.

    Raises:
        RunError: no run directory, damaged files, or a schema newer than this version reads.
    """
    folder = Path(path)
    if not exists(folder / "run.json"):
        raise RunError(f"{folder}: not a run directory (no run.json); `ganbench train` makes one")
    info = load_json(folder, "run.json")
    if not isinstance(info, dict):
        raise RunError(f"{folder / 'run.json'}: damaged: must be an object, is {type(info).__name__}")
    check_schema(folder / "run.json", info)
    if info.get("status") not in STATUSES:
        raise RunError(
            f"{folder / 'run.json'}: damaged: status={info.get('status')!r} is none of {', '.join(STATUSES)}"
        )
    config = load_yaml(folder, "config.yaml")
    if not isinstance(config, dict):
        raise RunError(f"{folder / 'config.yaml'}: damaged: must be a mapping")
    return RunRecord(folder, config, info)


def read_scores(folder: Path) -> list[dict[str, Any]]:
    """The records of scores.json; empty where there is none.

    Raises:
        RunError: damaged or of a newer schema.
    """
    if not exists(folder / "scores.json"):
        return []
    records = load_json(folder, "scores.json")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RunError(f"{folder / 'scores.json'}: damaged: must be a list of objects")
    for record in records:
        check_schema(folder / "scores.json", record)
    return records
