"""The floors under a table: real images against real images, as ``ganbench evaluate`` stored them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ganbench.metrics.protocol import TRAIN_HALVES, TRAIN_TEST
from ganbench.report.collect import flaw_of
from ganbench.report.columns import COLUMNS, finite
from ganbench.report.protocol import IMAGES, SIZE, Protocol
from ganbench.report.table import Floor, Table
from ganbench.report.text import clean, digest, listed

KNOWN_FLOORS = Path(__file__).parent / "known_floors"
"""Floors that ship with the package: those of its own datasets by the default protocol."""

_MAX_BYTES = 1 << 20

_NAMES = {TRAIN_TEST: "train against test", TRAIN_HALVES: "one half of train against the other"}


def attach_floors(tables: Sequence[Table], folders: Sequence[Path]) -> None:
    """Give each table the floors of its dataset, extractor, weights and protocol version.

    Of several, the one whose protocol is nearest to the table's, those found in `folders` before those that
    ship. Floors stand below the ranking, never in it; where their counts or reference are not the table's,
    they say so. Those of other images, of another dataset of that name, are left out.
    """
    paths = [path for folder in [*folders, KNOWN_FLOORS] for path in sorted(folder.glob("*.json"))]
    files = [_load(path) for path in paths]
    for table in tables:
        if table.protocol is None:
            continue
        fitting = [records for records in files if any(_floor(record, table.protocol) for record in records)]
        ours = [records for records in fitting if not _of_other_images(records, table.protocol)]
        table.floors += _nearest(ours, table.protocol)
        if not table.floors:
            table.notes += _why_none(table, table.protocol, of_other_images=bool(fitting))
        told = [f"{floor.name}: {floor.differs}" for floor in table.floors if floor.differs]
        if told:
            table.notes.append(f"floors of another protocol (the table's in brackets): {listed(told, 4)}")


def _nearest(files: Iterable[Sequence[Mapping[str, Any]]], wanted: Protocol) -> list[Floor]:
    """Of the floors of each name the one whose protocol differs least from the one `wanted`."""
    nearest: dict[str, tuple[int, Floor]] = {}
    for apart, floor in (held for records in files for record in records if (held := _floor(record, wanted))):
        if floor.name not in nearest or apart < nearest[floor.name][0]:
            nearest[floor.name] = apart, floor
    return [floor for _, floor in nearest.values()]


def _why_none(table: Table, protocol: Protocol, of_other_images: bool) -> list[str]:
    """Why a table has no floors, and how it gets some; nothing for a dataset of somebody's own."""
    if of_other_images:
        return [
            f"no floors: those of {table.dataset} are of other images than this table's reference "
            f"({IMAGES} {digest(protocol.get(IMAGES))})"
        ]
    if not any(path.name.startswith(f"{table.dataset}-") for path in KNOWN_FLOORS.iterdir()):
        return []
    extra = "" if protocol.extractor == "judge" else f" eval.extractor={protocol.extractor}"
    return [f"no floors yet: `ganbench evaluate --floors {table.dataset}{extra}` adds them"]


def _of_other_images(records: Sequence[Mapping[str, Any]], wanted: Protocol) -> bool:
    """Whether the floors of one file are those of another dataset, though perhaps of that name.

    One of them tells for all: the images of a train split tell nothing of a test split's, but both floors
    were made of one dataset. A reference is a whole split, but for the halves of train.
    """
    same = ["reference.dataset", "reference.split", SIZE]
    for record in records:
        protocol = Protocol.of(record)
        keys = [*same, "reference.count"] if record.get("floor") == TRAIN_HALVES else same
        alike = all(protocol.get(key) == wanted.get(key) for key in keys)
        if alike and protocol.get(IMAGES) != wanted.get(IMAGES):
            return True
    return False


def _floor(record: Mapping[str, Any], wanted: Protocol) -> tuple[int, Floor] | None:
    """The floor of a record, after the number of settings in which it is not `wanted`."""
    protocol = Protocol.of(record)
    same = ("version", "extractor", "extractor_sha256", "reference.dataset")
    if any(protocol.get(key) != wanted.get(key) for key in same):
        return None
    values = {
        column.name: value
        for column in COLUMNS.values()
        if column.key and (value := finite(record["values"].get(column.key))) is not None
    }
    if not values:
        return None
    key = clean(record.get("floor") or "floor", 60)
    differences = protocol.differences(wanted)
    return len(differences), Floor(_NAMES.get(key, key), values, listed(differences, 4))


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
