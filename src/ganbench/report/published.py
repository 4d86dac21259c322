"""Figures that others published, kept as data and shown apart."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Source:
    """One publication: where it is from, how it was measured, and its rows as printed there."""

    title: str
    link: str | None
    protocol: str
    columns: list[str]
    rows: list[list[str]]


def load_published() -> list[Source]:
    """The sources of published.yaml."""
    import yaml

    text = resources.files("ganbench.report").joinpath("published.yaml").read_text(encoding="utf-8")
    return [Source(**entry) for entry in yaml.safe_load(text)]
