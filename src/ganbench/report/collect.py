"""From folders to runs: find them, check them, and say of each that cannot be used why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ganbench.errors import RunError, UserError
from ganbench.quick import no_garbage
from ganbench.report.columns import finite
from ganbench.report.text import clean, digest, listed, setting
from ganbench.runs import RunRecord, find_runs, read_run
from ganbench.schema import later_keys, lookup

NAMES = ("dataset", "model", "loss")

DATA = "dataset_sha256"
"""The setting that run.json tells: of one configuration, the images in its folder may be others."""

NOT_RECIPE = frozenset(
    {
        "seed", "device", "compile", "force", "output_root", "deterministic", "threads", "logger",
        "dataset.root", "train.log_every", "train.sample_every", "train.sample_labels",
        "train.checkpoint_every", "train.stop_on",
    }
)  # fmt: skip
"""Keys in which the runs of one recipe may differ; so may all of ``eval.*``, which the protocol tells."""

LATER = later_keys()

_MAX_DEPTH = 10

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Skipped:
    """Something below a root that could not be used; `in_part`: the rest of the run is."""

    path: Path
    reason: str
    in_part: bool = False


@dataclass(eq=False)
class Run:
    """One run directory. `config` is flat with dotted keys, later ones at their default where it has none;
    `records` are the usable score records.

    `damage` is what was found damaged in a file that is read only when asked for.
    """

    path: Path
    config: JsonObject
    info: JsonObject
    records: list[JsonObject]
    seed: int
    status: str
    reason: str
    source: RunRecord = field(repr=False)
    damage: str = ""

    @cached_property
    def names(self) -> dict[str, str]:
        """Dataset, model and loss by name."""
        said = self.info.get("name")
        said = said if isinstance(said, Mapping) else {}
        return {
            name: clean(self.config.get(f"{name}.name") or said.get(name) or _last_part(self.config, name))
            for name in NAMES
        }

    @property
    def experiment(self) -> str | None:
        """The experiment file that the run was composed from, by name."""
        said = self.info.get("experiment")
        return clean(said, 60) if isinstance(said, str) and said else None

    @cached_property
    def settings(self) -> dict[str, str]:
        """Every config key that makes the recipe, as text, and `DATA` by its first digits where known."""
        told = {key: setting(value) for key, value in self.config.items() if is_setting(key)}
        images = self.said(DATA)
        return told | {DATA: digest(images)} if images else told

    @cached_property
    def recipe(self) -> frozenset[tuple[str, str]]:
        """What the runs of one recipe share."""
        return frozenset(self.settings.items())

    @property
    def n_critic(self) -> int:
        """Discriminator updates a step."""
        value = finite(self.config.get("loss.n_critic"))
        return 1 if value is None else int(value)

    def lookup(self, key: str) -> str | None:
        """A setting by dotted key or short name (dataset, loss, experiment, status…); None if absent."""
        short = {**self.names, "seed": str(self.seed), "status": self.status, "experiment": self.experiment}
        if key in short:
            return short[key]
        if key == DATA:
            return self.settings.get(DATA)
        return setting(self.config[key]) if key in self.config else None

    def measured(self, key: str) -> float | None:
        """A finite number of run.json, by dotted key."""
        return finite(lookup(self.info, key))

    def said(self, key: str) -> str | None:
        """A text of run.json, by dotted key."""
        text = lookup(self.info, key)
        return clean(text) if isinstance(text, str) and text else None

    @property
    def dirty(self) -> bool | None:
        """Whether ganbench's own source had uncommitted changes; None outside a checkout."""
        changed = lookup(self.info, "git.dirty")
        return changed if isinstance(changed, bool) else None

    @cached_property
    def diagnosis(self) -> dict[str, str]:
        """What the run's own diagnosis found: name to step, evidence and fix in words."""
        entries = self.info.get("diagnosis")
        entries = entries if isinstance(entries, list) else []
        return {
            clean(entry.get("name", "?"), 40): _diagnosed(entry)
            for entry in entries
            if isinstance(entry, Mapping)
        }

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """Rows of history.csv, read when asked for; empty where damaged, which `damage` then says."""
        try:
            return self.source.history
        except RunError as error:
            self.damage = f"{_without_path(error, self.path)}; the rest of the run is used"
            return []


@dataclass
class Collection:
    """The usable runs below the roots, and what was skipped."""

    roots: list[Path]
    runs: list[Run]
    skipped: list[Skipped]


def is_setting(key: str) -> bool:
    """Whether a dotted key of the configuration is a part of the recipe."""
    return key not in NOT_RECIPE and not key.startswith("eval.")


def collect(roots: Iterable[str | Path]) -> Collection:
    """Read every run directory below `roots`.

    Raises:
        UserError: a root is missing or a file, or there is no usable run below any of them.
    """
    folders = [_folder(root) for root in roots]
    paths: dict[Path, Path] = {}
    for folder in folders:
        for path in find_runs(folder):
            paths.setdefault(path.resolve() if len(folders) > 1 else path, path)
    runs: list[Run] = []
    skipped: list[Skipped] = []
    with no_garbage():  # all that is read is kept
        for path in paths.values():
            try:
                run, notes = _read(path)
            except (RunError, RecursionError) as error:
                skipped.append(Skipped(path, _without_path(error, path)))
                continue
            runs.append(run)
            skipped += [Skipped(path, note, in_part=True) for note in notes]
    if not runs:
        raise _nothing(folders, skipped)
    return Collection(folders, runs, skipped)


def _folder(root: str | Path) -> Path:
    path = Path(root)
    if path.is_dir():
        return path
    what = "is a file, not a folder" if path.exists() else "does not exist"
    raise UserError(
        f"ROOT {clean(root)}: {what} (looked in {path.absolute()}); give a folder that holds run directories"
    )


def _nothing(folders: list[Path], skipped: list[Skipped]) -> UserError:
    where = listed(str(folder.absolute()) for folder in folders)
    if skipped:
        first = skipped[0]
        return UserError(
            f"no usable run below {where}: {len(skipped):,} skipped, the first {first.path}: {first.reason}"
        )
    return UserError(
        f"no runs found below {where} (links are not followed); train some with `ganbench train`, or name "
        "their folder"
    )


def _read(path: Path) -> tuple[Run, list[str]]:
    """One run and remarks about its unusable score records.

    Raises:
        RunError: the directory cannot be used at all, or its configuration is not the one it was trained by.
    """
    source = read_run(path)
    source.require_unchanged()
    flat = flatten(source.config)
    seed = source.info.get("seed", flat.get("seed"))
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise RunError(f"seed: must be an integer, is {clean(repr(seed))}")
    records, notes = _usable(source.scores)
    reason = clean(source.reason or "")
    flat |= {key: default for key, default in LATER.items() if key not in flat}
    return Run(path, flat, source.info, records, seed, source.status, reason, source), notes


def _usable(scores: list[JsonObject]) -> tuple[list[JsonObject], list[str]]:
    records, notes = [], []
    for index, record in enumerate(scores, start=1):
        if flaw := flaw_of(record):
            notes.append(f"scores.json, record {index}: {flaw}; the rest of the run is used")
        else:
            records.append(record)
    return records, notes


def flaw_of(record: Mapping[str, Any]) -> str | None:
    """Why a score record, of a run or a floor, cannot be used; None where it can."""
    for key in ("protocol", "values"):
        if not isinstance(record.get(key), Mapping):
            return f"has no {key}"
    # Python 3.13 parses JSON deeper than Python code can follow.
    if _is_deep(record["protocol"]):
        return f"its protocol is nested deeper than {_MAX_DEPTH} levels"
    return None


def _is_deep(node: Any, levels: int = _MAX_DEPTH) -> bool:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return levels == 0 or any(_is_deep(child, levels - 1) for child in children)


def flatten(node: Mapping[Any, Any], prefix: str = "") -> JsonObject:
    """Nested mappings as one, with dotted keys. Lists stay values.

    >>> flatten({"a": {"b": 1, "c": [2]}})
    {'a.b': 1, 'a.c': [2]}
    """
    flat: JsonObject = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def _diagnosed(entry: Mapping[str, Any]) -> str:
    evidence = entry.get("evidence")
    evidence = evidence if isinstance(evidence, Mapping) else {}
    figures = ", ".join(f"{clean(name, 40)} {setting(value)}" for name, value in evidence.items())
    fix = f"; try {clean(entry['fix'])}" if "fix" in entry else ""
    return f"since step {clean(entry.get('step', '?'), 40)}{figures and f': {figures}'}{fix}"


def _last_part(config: JsonObject, group: str) -> str:
    target = config.get(f"{group}._target_") or config.get(f"{group}.generator._target_") or "unnamed"
    return str(target).rsplit(".", 1)[-1]


def _without_path(error: Exception, path: Path) -> str:
    """The reason alone: the path stands before it in every list."""
    return clean(str(error).replace(f"{path}/", "").removeprefix(f"{path}: "))
