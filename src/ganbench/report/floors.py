"""The floors under a table: real images against real images, as ``ganbench evaluate`` stored them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ganbench.report.collect import flaw_of
from ganbench.report.columns import COLUMNS, finite
from ganbench.report.protocol import Protocol
from ganbench.report.table import Floor, Table
from ganbench.report.text import clean, listed

KNOWN_FLOORS = Path(__file__).parent / "known_floors"
"""Floors that ship with the package: those of its own datasets by the default protocol."""

_MAX_BYTES = 1 << 20

_NAMES = {"train-test": "train against test", "train-halves": "one half of train against the other"}


def attach_floors(tables: Sequence[Table], folders: Sequence[Path]) -> None:
    """Give each table the floors of its dataset, extractor, weights and protocol version.

    Of several, the one whose protocol is nearest to the table's, those found in `folders` before those that
    ship. Floors stand below the ranking, never in it; where their counts or reference are not the table's,
    they say so.
    """
    paths = [path for folder in [*folders, KNOWN_FLOORS] for path in sorted(folder.glob("*.json"))]
    records = [record for path in paths for record in _load(path)]
    for table in tables:
        if table.protocol is None:
            continue
        nearest: dict[str, tuple[int, Floor]] = {}
        for record in records:
            protocol = Protocol.of(record)
            floor = _floor(record, protocol, table.protocol)
            apart = len(protocol.differences(table.protocol))
            if floor and (floor.name not in nearest or apart < nearest[floor.name][0]):
                nearest[floor.name] = apart, floor
        table.floors += [floor for _, floor in nearest.values()]
        if not table.floors:
            extra = (
                "" if table.protocol.extractor == "judge" else f" eval.extractor={table.protocol.extractor}"
            )
            ours = (path.name.startswith(f"{table.dataset}-") for path in KNOWN_FLOORS.iterdir())
            if any(ours):  # one of ganbench's own datasets
                table.notes.append(
                    f"no floors yet: `ganbench evaluate --floors {table.dataset}{extra}` adds them"
                )
        told = [f"{floor.name}: {floor.differs}" for floor in table.floors if floor.differs]
        if told:
            table.notes.append(f"floors of another protocol (the table's in brackets): {listed(told, 4)}")


def _floor(record: Mapping[str, Any], protocol: Protocol, wanted: Protocol) -> Floor | None:
    same = ("version", "extractor", "extractor_sha256", "reference.dataset")
    if any(protocol.get(key) != wanted.get(key) for key in same):
        return None
    values = {
        column.name: value
        for column in COLUMNS.values()
        if column.key and (value := finite(record["values"].get(column.key))) is not None
    }
    key = clean(record.get("floor") or "floor", 60)
    name = _NAMES.get(key, key)
    return Floor(name, values, listed(protocol.differences(wanted), 4)) if values else None


def _load(path: Path) -> list[Mapping[str, Any]]:
    """Usable records of one floors file; none where it is damaged, as a table stands without them."""
    try:
        # Nothing but a regular file: a pipe would be waited for.
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return []
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    records = content if isinstance(content, list) else [content]
    return [record for record in records if isinstance(record, Mapping) and not flaw_of(record)]
