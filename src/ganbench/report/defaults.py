"""What the names of a recipe bring: the settings of the config files that they choose.

Needs no OmegaConf, which nothing else of a comparison imports.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from ganbench.report.collect import NAMES, flatten, is_setting
from ganbench.report.text import setting

_NAME = re.compile(r"\w{1,60}(/\w{1,60}){0,2}")
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?e[-+]?\d+", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
_AUTO = re.compile(r"\$\{ganbench\.auto:(\w+),(\w+)\}")


def set_by_hand(names: Mapping[str, str], experiment: str | None, settings: Mapping[str, str]) -> set[str]:
    """The keys that are not in a run's `settings` as its dataset, model, loss and experiment bring them.

    Of a group's keys none where its file is not shipped, none at all where the experiment's is not, and none
    that is computed from others.
    """
    of_experiment = shipped(f"experiment/{experiment}") if experiment else {}
    if experiment and not of_experiment:
        return set()
    groups = {name: shipped(f"{name}/{names[name]}") for name in NAMES}
    brought = {**shipped("config"), **_below("train", shipped("train/default"))}
    for name, content in groups.items():
        brought |= _below(name, content)
    brought |= of_experiment
    unknown = tuple(f"{name}." for name, content in groups.items() if not content)
    found = set()
    for key in {*settings, *filter(is_setting, brought)}:
        if not key.startswith(unknown):
            expected = _resolved(brought.get(key, ""), settings)
            if "${" not in expected and expected != settings.get(key):
                found.add(key)
    return found


def _below(group: str, content: Mapping[str, str]) -> dict[str, str]:
    return {f"{group}.{key}": value for key, value in content.items()}


def _resolved(text: str, settings: Mapping[str, str]) -> str:
    """A value with what it refers to put in; what is computed otherwise keeps its ``${``."""
    for _ in range(2):  # one within another is the deepest of ours; a run's own may have no end
        text = _REFERENCE.sub(lambda found: settings.get(found[1], ""), text)
    return _AUTO.sub(lambda found: found[2] if found[1] == "auto" else found[1], text)


@cache
def shipped(name: str) -> Mapping[str, str]:
    """The settings of a shipped config file, and of those of its group that it starts from, by dotted key.

    Empty where there is no such file: names come from run directories, and may be anything.
    """
    import yaml

    path = resources.files("ganbench.conf") / f"{name}.yaml"
    if not _NAME.fullmatch(name) or not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    bases = [entry for entry in content.pop("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    content.pop("hydra", None)
    settings: dict[str, str] = {}
    for base in bases:
        settings |= shipped(f"{name.partition('/')[0]}/{base}")
    return settings | {key: setting(_number(value)) for key, value in flatten(content).items()}


def _number(value: Any) -> Any:
    """YAML 1.1 takes 2e-4 for a word."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value
