"""ganbench: the honest, fast benchmark for GAN training recipes.

From Python: `load_runs`, `load_generator`, `load_judge`, and the pure metric functions in
`ganbench.metrics`. Each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

_HOMES = {
    "load_runs": "ganbench.report",
    "load_generator": "ganbench.generator",
    "load_judge": "ganbench.metrics.judge",
}

__all__ = ["load_generator", "load_judge", "load_runs"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("ganbench")
    if name not in _HOMES:
        raise AttributeError(f"module 'ganbench' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
