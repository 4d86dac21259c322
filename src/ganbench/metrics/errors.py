"""The one error of a metric: it has no value for what it was given."""

from __future__ import annotations


class MetricUndefined(ValueError):
    """The metric has no value here; the text is the reason that the record carries."""


def require_count(what: str, have: int, need: int) -> None:
    """Raise MetricUndefined when `have` of `what` ("generated images") are fewer than `need`."""
    if have < need:
        raise MetricUndefined(f"needs at least {need} {what}, has {have}")
