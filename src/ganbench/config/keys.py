"""A configuration as a plain dict of dicts, and its keys by their dotted names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

Config = dict[str, Any]


def lookup(config: Config, key: str) -> Any:
    """The value at a dotted key, None where there is none."""
    node: Any = config
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    return node


def without(config: Config, keys: Iterable[str]) -> Config:
    """A copy without the dotted `keys`."""
    copy = json.loads(json.dumps(config))
    for key in keys:
        *parents, last = key.split(".")
        node = copy
        for parent in parents:
            node = node.get(parent, {})
        node.pop(last, None)
    return copy
