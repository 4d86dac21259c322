"""The files of the config groups in ``conf/``, as they are shipped."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import OmegaConf

from ganbench.config.keys import Config
from ganbench.errors import ConfigError

if TYPE_CHECKING:
    from importlib.abc import Traversable


def group_files(group: str, config_dir: str | None = None) -> dict[str, str]:
    """The text of every file of a config group, by the name it is chosen with.

    Those shipped, and those of a `config_dir`. Of one name the shipped file counts, as for Hydra.
    """

    def walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
            if entry.is_dir():
                yield from walk(entry, f"{prefix}{entry.name}/")
            elif entry.name.endswith(".yaml"):
                yield prefix + entry.name.removesuffix(".yaml"), entry.read_text(encoding="utf-8")

    shipped = dict(walk(resources.files("ganbench.conf") / group, ""))
    own = Path(config_dir, group) if config_dir is not None else None
    return {**(dict(walk(own, "")) if own and own.is_dir() else {}), **shipped}


def group_names(group: str) -> list[str]:
    """What a config group can be set to."""
    return list(group_files(group))


def purpose(text: str) -> str:
    """The first comment of a config file that is no directive: its purpose in one line."""
    comments = (line.lstrip("# ").rstrip() for line in text.splitlines() if line.startswith("#"))
    return next((comment for comment in comments if not comment.startswith("@package")), "")


def load_group(group: str, name: str) -> Config:
    """One shipped config file as a plain dict, e.g. ``load_group("dataset", "mnist")``.

    Raises:
        ConfigError: there is no such file.
    """
    files = group_files(group)
    if name not in files:
        raise ConfigError(f"{group}={name}: unknown; choose one of {', '.join(files)}")
    return dict(OmegaConf.to_container(OmegaConf.create(files[name]), resolve=True))  # type: ignore[arg-type]
