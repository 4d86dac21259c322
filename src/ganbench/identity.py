"""What names a run: the hash of its configuration, and its place below the output folder.

Needs nothing but the standard library: reports check the hash, too.
"""

from __future__ import annotations

import hashlib
import json

from ganbench.schema import Config, later_keys, lookup

HOUSEKEEPING = (
    "force",
    "output_root",
    "dataset.root",
    "train.checkpoint_every",
    "train.stop_on",
    "eval.inception_weights",
)
"""Keys that change nothing of a training, left out of its identity; scores carry their weights' hash."""


def identity(config: Config) -> str:
    """Hex sha256 of the configuration without its housekeeping keys.

    A key added later is left out, too, while it has its default: that is what runs did before it existed, so
    they keep their names.
    """
    idle = [key for key, default in later_keys().items() if lookup(config, key) == default]
    counted = json.loads(json.dumps(config), parse_float=_number)
    for key in (*HOUSEKEEPING, *idle):
        *parents, last = key.split(".")
        node = counted
        for parent in parents:
            node = node.get(parent, {})
        node.pop(last, None)
    told = {key: value for key, value in counted.items() if value != {}}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def run_name(config: Config) -> str:
    """``<dataset>/<model>/<loss>/s<seed>-<hash8>``, the run's place below ``output_root``."""
    names = [config[group]["name"] for group in ("dataset", "model", "loss")]
    return "/".join([*names, f"s{config['seed']}-{identity(config)[:8]}"])


def _number(text: str) -> float | int:
    """10 and 10.0 are one value, so that a digit after the point does not make another run."""
    value = float(text)
    return int(value) if value.is_integer() else value
