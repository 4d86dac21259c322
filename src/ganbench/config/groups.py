"""The files of the config groups in ``conf/``, as they are shipped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ganbench.errors import ConfigError
from ganbench.schema import Config

if TYPE_CHECKING:
    from importlib.abc import Traversable


def group_files(group: str, config_dir: str | None = None) -> dict[str, str]:
    """The text of every file of a config group, by the name it is chosen with.

    Those shipped, and those of a `config_dir`. Of one name the shipped file counts, as for Hydra.
    """
    shipped = _texts(resources.files("ganbench.conf") / group)
    own = Path(config_dir, group) if config_dir is not None else None
    return {**(_texts(own) if own and own.is_dir() else {}), **shipped}


def _texts(folder: Traversable) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, entry in _files(folder):
        try:
            found[name] = entry.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{entry}: is no text in UTF-8 ({error.reason}); save it as such") from error
        except OSError as error:
            raise ConfigError(f"{entry}: {error.strerror}") from error
    return found


def _files(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """The YAML files at and below a folder, by what a choice calls them; those of editors are hidden."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _files(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml") and not entry.name.startswith("."):
            yield prefix + entry.name.removesuffix(".yaml"), entry


def require_own_names(config_dir: str) -> None:
    """Refuse a folder with files that have the names of shipped ones, which Hydra would take instead.

    Raises:
        ConfigError: naming the first such file.
    """
    shadowed = [Path("config.yaml")] if Path(config_dir, "config.yaml").exists() else []
    for group, own in _own_groups(config_dir):
        shipped = dict(_files(resources.files("ganbench.conf") / group))
        shadowed += [Path(group, f"{name}.yaml") for name, _ in _files(own) if name in shipped]
    if shadowed:
        raise ConfigError(
            f"--config-dir {config_dir}: {shadowed[0]} is the name of a file of ganbench's, which would be "
            "taken instead; give it another one"
        )


def require_texts(config_dir: str) -> None:
    """Find what cannot be read in a folder of configs.

    Raises:
        ConfigError: naming the first file that is no text.
    """
    for _, own in _own_groups(config_dir):
        _texts(own)


def _own_groups(config_dir: str) -> list[tuple[str, Path]]:
    """The folders in `config_dir` that are config groups of ours."""
    groups = sorted(entry.name for entry in resources.files("ganbench.conf").iterdir() if entry.is_dir())
    return [(group, Path(config_dir, group)) for group in groups if Path(config_dir, group).is_dir()]


def group_names(group: str) -> list[str]:
    """What a config group can be set to."""
    return list(group_files(group))


def purpose(text: str) -> str:
    """A config file's purpose in one line: its first comment that is no directive and not its name."""
    comments = (line.lstrip("# ").rstrip() for line in text.splitlines() if line.startswith("#"))
    names = re.compile(r"@package.*|\S+\.yaml")
    return next((comment for comment in comments if not names.fullmatch(comment)), "")


def load_group(group: str, name: str) -> Config:
    """One shipped config file as a plain dict, e.g. ``load_group("dataset", "mnist")``.

    Raises:
        ConfigError: there is no such file.
    """
    files = group_files(group)
    if name not in files:
        raise ConfigError(f"{group}={name}: unknown; choose one of {', '.join(files)}")
    return dict(OmegaConf.to_container(OmegaConf.create(files[name]), resolve=True))  # type: ignore[arg-type]
