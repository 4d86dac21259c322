"""What an earlier start left in a run's folder, and whether this one is done with it or may go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ganbench import runs
from ganbench.config import Config, identity
from ganbench.data import Dataset
from ganbench.errors import RunError
from ganbench.runs import NewerSchemaError, RunRecord
from ganbench.schema import lookup

log = logging.getLogger(__name__)


def require_own(path: Path) -> None:
    """Refuse a folder of the user's choice that holds something else than a run, or what is left of one."""
    if _looked_up(lambda: path.is_dir() and any(path.iterdir()), path) and not runs.was_held(path):
        try:
            runs.read_run(path)
        except RunError as error:
            raise RunError(
                f"hydra.run.dir={path}: neither empty nor a run directory ({error}); choose another folder"
            ) from error


def completed(path: Path, config: Config) -> RunRecord | None:
    """The run that needs no training, None where there is none, or ``force`` asks for another.

    Raises:
        RunError: the folder holds another run, or one of a newer ganbench.
    """
    if not _looked_up((path / "run.json").exists, path):
        return None
    try:
        record = runs.read_run(path)
    except NewerSchemaError:
        raise
    except RunError as error:
        log.warning("%s; %s", error, "training it anew" if config["force"] else "what is left of it is used")
        return None
    if config["force"]:
        return None
    if record.info.get("config_hash") != identity(config):
        raise RunError(f"{path}: holds another run; choose another folder, or force=true to replace it")
    return record if record.status == runs.COMPLETED else None


def tell_skipped(record: RunRecord, config: Config, experiment: str | None, code: dict[str, str]) -> None:
    """Say that a run is complete, and what its user may not expect of it."""
    known = record.info.get("experiment")
    other = known and known != experiment
    also = f"; it came from +experiment={known}, with these very settings" if other else ""
    diagnosed = [d.get("name") for d in record.info.get("diagnosis") or [] if isinstance(d, dict)]
    if named := [name for name in config["train"]["stop_on"] or () if name in diagnosed]:
        also += f"; what train.stop_on names was found in it: {', '.join(named)}"
    weights = "eval.inception_weights"
    scored_by = lookup(record.config, weights)
    if config["eval"]["extractor"] == "inception" and scored_by != lookup(config, weights):
        also += f"; it has the scores of {weights}={scored_by or 'null'}"
    if changed := changed_code(record.info, code):
        also += f"; but it was trained by other code of {changed}"
    if flaw := _flaw(record):
        also += f"; but {flaw}"
    level = logging.WARNING if changed or flaw else logging.INFO
    log.log(level, "%s: complete, skipped (force=true trains it anew)%s", record.path, also)


def _flaw(record: RunRecord) -> str:
    """Why other commands will not take a completed run as it is; empty where they will."""
    try:
        record.require_unchanged()
        scored = record.scores
    except RunError as error:
        return str(error).removeprefix(f"{record.path}").lstrip(":/ ")
    if not scored and lookup(record.config, "eval.enabled"):
        return f"it has no scores any more (`ganbench evaluate {record.path}` makes new ones)"
    return ""


def require_same_images(path: Path, dataset: Dataset) -> None:
    """Refuse to go on with a run on other images than it was begun with."""
    known = info_before(path).get("dataset_sha256")
    if known is not None and known != dataset.sha256:
        raise RunError(
            f"{path}: was begun on other images (dataset_sha256 {str(known)[:16]}, now "
            f"{dataset.sha256[:16]}); give it those again, or force=true to train it anew"
        )


def changed_code(info: Mapping[str, Any], code: dict[str, str]) -> str:
    """The keys whose code is no more what a run was trained by; nothing of runs from before it was noted."""
    known = info.get("code")
    if not isinstance(known, Mapping):
        return ""
    return ", ".join(sorted(key for key in {*known, *code} if known.get(key) != code.get(key)))


def code_of_all_steps(before: Mapping[str, Any], code: dict[str, str]) -> dict[str, str]:
    """The hashes of one's own code of a run that goes on; with other code, those before stay: ``old+new``."""
    known = before.get("code")
    if not isinstance(known, Mapping):
        return code
    earlier = {key: str(known.get(key, new)) for key, new in code.items()}
    return {key: old if old.endswith(code[key]) else f"{old}+{code[key]}" for key, old in earlier.items()}


def info_before(path: Path) -> dict[str, Any]:
    """run.json as an earlier start left it; empty where there is none to be read."""
    try:
        return runs.read_run(path).info
    except RunError:
        return {}


def _looked_up(question: Callable[[], bool], path: Path) -> bool:
    """Ask the file system.

    Raises:
        RunError: it does not let us look.
    """
    try:
        return question()
    except OSError as error:
        raise RunError(
            f"output_root: cannot read {path}: {error.strerror}; choose another with output_root=FOLDER"
        ) from error
