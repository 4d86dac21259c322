"""What a reader must know before trusting a table: budgets, sizes, machines, software, few seeds, judges."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from ganbench.report.collect import Run
from ganbench.report.columns import COLUMNS, finite
from ganbench.report.defaults import shipped
from ganbench.report.protocol import AXES, first_score, nearest
from ganbench.report.table import Row, Table, middle
from ganbench.report.text import as_number, clean, count, digest, listed
from ganbench.report.verdicts import MIN_SEEDS

FEATURES = {"judge": 64, "judge_b": 64, "inception": 2048}
"""Dimensions of what an extractor makes of an image."""


def remark_budgets(table: Table) -> None:
    """Say so where recipes were given different budgets."""
    if table.at:
        _compare_positions(table)
        return
    told = []
    for name in ("steps", "images", "critic steps"):
        amounts = {amount for row in table.rows if (amount := row.budget[name]) is not None}
        if len(amounts) > 1:
            table.budgets.append(name)
            told.append(f"{name} {count(min(amounts))} to {count(max(amounts))}")
    if told:
        images = [amount for row in table.rows if (amount := row.budget["images"]) is not None]
        firsts = [first_score(pick.run, "images") for row in table.rows for pick in row.picks.values()]
        hint = ""
        if images and table.weights == "last" and all(f is not None and f <= min(images) for f in firsts):
            hint = f"; --at images={min(images):.0f} compares at an equal one"
        table.notes.append(f"the recipes were given different budgets ({', '.join(told)}){hint}")


def _compare_positions(table: Table) -> None:
    assert table.at is not None
    key = AXES[table.at.axis]
    found = [finite(pick.record.get(key)) for row in table.rows for pick in row.picks.values()]
    positions = [position for position in found if position is not None]
    if positions and min(positions) < 0.9 * table.at.limit:
        shown = "{:.3g}".format if max(positions) < 100 else count
        ends = dict.fromkeys([shown(min(positions)), shown(max(positions))])
        table.notes.append(
            f"the scores were taken at {' to '.join(ends)} {table.at.axis}, the last ones at or before "
            f"{table.at}; a smaller eval.every brings them nearer"
        )


def remark_conditions(table: Table) -> None:
    """Say what else limits the table: sizes, machines, software, few seeds or images, missing metrics."""
    table.notes += _sizes(table)
    devices = machines(table)
    if len(devices) > 1:
        table.notes.append(
            f"times were measured on different machines and are not ranked: {listed(sorted(devices), 4)}"
        )
    table.notes += _software(table)
    table.notes += _changed_code(table)
    few = [row.label for row in table.rows if 0 < len(row.picks) < MIN_SEEDS]
    if few and len(table.rows) > 1:
        table.notes.append(
            f"fewer than {MIN_SEEDS} seeds, so noise unknown and no ties marked: {listed(few, 6)}"
        )
    table.notes += _twins(table)
    table.notes += _kid_spread(table)
    table.notes += _few_images(table)
    table.notes += _absent(table)
    said = [pick.record["protocol"].get("seed") for row in table.rows for pick in row.picks.values()]
    seeds = {clean(seed, 40) for seed in said if seed is not None}
    usual = shipped("eval/default")["seed"]
    if len(seeds) > 1:
        table.notes.append(f"generated with different evaluation seeds: {listed(sorted(seeds), 4)}")
    elif seeds - {usual}:
        table.notes.append(f"generated with eval.seed={seeds.pop()}, not with the protocol's {usual}")


def _counted(rows: Iterable[Row]) -> list[Run]:
    return [pick.run for row in rows for pick in row.picks.values()]


def _sizes(table: Table) -> list[str]:
    """How large the networks are, where rows differ: what looks like a better loss may be a larger critic."""
    told = []
    for network in ("generator", "discriminator"):
        rows: dict[float, list[str]] = defaultdict(list)
        for row in table.rows:
            size = middle(run.measured(f"parameters.{network}") for run in row.runs)
            if size is not None:
                rows[size].append(row.short)
        if len(rows) > 1:
            sizes = [f"{count(size)} ({listed(names, 3)})" for size, names in sorted(rows.items())]
            told.append(f"{network} {listed(sizes, 6)}")
    return [f"the networks differ in size, counted in parameters: {'; '.join(told)}"] if told else []


def _software(table: Table) -> list[str]:
    """What the runs were made by, where it was not one and the same, or is in no commit."""
    runs = _counted(table.rows)
    told = []
    for what, key in (
        ("ganbench", "versions.ganbench"),
        ("torch", "versions.torch"),
        ("ganbench's commits", "git.commit"),
    ):
        made = Counter(digest(text) for run in runs if (text := run.said(key)))
        if len(made) > 1:
            told.append(f"{what} {listed((f'{text} ({n})' for text, n in made.most_common()), 4)}")
    if dirty := sum(run.dirty is True for run in runs):
        told.append(f"ganbench with uncommitted changes ({dirty})")
    return [f"the runs were made by {'; '.join(told)}"] if told else []


def _changed_code(table: Table) -> list[str]:
    """Somebody's own code that is not the same in all runs of a row: they are not of one recipe then."""
    notes = []
    for row in table.rows:
        found: dict[str, set[str]] = defaultdict(set)
        for run in _counted([row]):
            code = run.info.get("code")
            for key, sha256 in (code if isinstance(code, Mapping) else {}).items():
                found[clean(key, 60)].add(clean(sha256))
        changed = [key for key, hashes in found.items() if len(hashes) > 1]
        if changed:
            notes.append(f"{listed(changed, 4)}: its code changed between the runs of {row.label}")
    return notes


def _few_images(table: Table) -> list[str]:
    """That FID is of so few images that their covariance has no inverse."""
    if table.protocol is None or COLUMNS["fid"] not in table.columns:
        return []
    dimensions = FEATURES.get(table.protocol.extractor, 0)
    made, real = (as_number(table.protocol.get(key)) for key in ("num_generated", "reference.count"))
    images = min((number for number in (made, real) if number is not None), default=None)
    if images is None or images > dimensions:
        return []
    way_out = f"set eval.{'training_' * bool(table.at)}num_samples above {count(dimensions)}"
    if made is None or made > dimensions or (real is not None and real <= dimensions):
        way_out = "choose another eval.extractor"
    return [
        f"FID is of {count(images)} images in {count(dimensions)} feature dimensions "
        f"({table.protocol.extractor}): their covariance is rank-deficient, so FID is too high; {way_out}"
    ]


def _twins(table: Table) -> list[str]:
    """Recipes whose scores are the same seed for seed: a model may have of itself what a loss asks for."""
    labels: dict[str, list[str]] = defaultdict(list)
    for row in table.rows:
        figures = {str(seed): pick.record.get("values") for seed, pick in row.picks.items()}
        if any(figures.values()):
            labels[json.dumps(figures, sort_keys=True, default=str)].append(row.label)
    return [
        f"the same scores seed for seed, so one recipe by several names: {listed(alike, 4)}"
        for alike in labels.values()
        if len(alike) > 1
    ]


def _kid_spread(table: Table) -> list[str]:
    """KID with its standard deviation over the subsets, for recipes whose seeds show no spread yet."""
    column, told = COLUMNS["kid"], []
    for row in table.rows:
        if len(row.picks) != 1 or column not in table.columns:
            continue
        for pick in row.picks.values():
            mean, spread = pick.value(column), finite(pick.record["values"].get("kid_std"))
            if mean is not None and spread is not None:
                told.append(f"{row.label} {column.text(mean)} ± {column.text(spread, like=mean)}")
    what = f"{column.heading} {column.unit} ± its standard deviation over subsets of images"
    return [f"{what}: {listed(told, 12)}"] if told else []


def _absent(table: Table) -> list[str]:
    """Why a metric is missing, by the score records' own word."""
    reasons: dict[str, int] = Counter()
    for row in table.rows:
        for pick in row.picks.values():
            absent = pick.record.get("absent")
            for metric, reason in (absent if isinstance(absent, Mapping) else {}).items():
                reasons[f"{clean(metric, 40)} is missing: {clean(reason)}"] += 1
    return [f"{reason} ({number} run{'s' * (number > 1)})" for reason, number in reasons.items()]


def machines(table: Table) -> set[str]:
    """Where the runs that count were trained."""
    return {_machine(run.info) for run in _counted(table.rows)}


def _machine(info: Mapping[str, Any]) -> str:
    """Device, name, cores and threads; a host that is no mapping is told as it stands."""
    device, host = clean(info.get("device")), info.get("host")
    if not isinstance(host, Mapping):
        return f"{device} of {clean(host)}"
    counts = [f"{key} {clean(host[key])}" for key in ("cores", "threads") if host.get(key) is not None]
    return f"{device} of {clean(host.get('name'))}" + (f" ({', '.join(counts)})" if counts else "")


def remark_protocols(tables: Sequence[Table]) -> None:
    """Under every table but the first, the settings that keep it apart from the nearest one above."""
    for index, table in enumerate(tables):
        above = [other.protocol for other in tables[:index] if other.protocol]
        if table.protocol and above:
            other = nearest(table.protocol, above)
            number = [t.protocol for t in tables].index(other) + 1
            table.notes.insert(
                0,
                f"not comparable with table {number}, whose protocol differs (there in brackets): "
                + listed(table.protocol.differences(other), 8),
            )


def remark_other_judge(table: Table, tables: Sequence[Table]) -> None:
    """Say whether the order by the chosen column is the same for both judges."""
    if table.protocol is None or table.by is None or table.protocol.extractor != "judge":
        return
    if not table.by.key:  # training time, which no judge sees
        return
    name = table.by.name
    for other in tables:
        if other.protocol is None or other.protocol.extractor != "judge_b":
            continue
        if other.protocol.differences(table.protocol, ["extractor", "extractor_sha256"]):
            continue
        here, there = _centres(table, name), _centres(other, name)
        common = [recipe for recipe in here if recipe in there]
        swapped = [
            f"{here[a][1]} and {here[b][1]}"
            for a, b in combinations(common, 2)
            if (here[a][0] - here[b][0]) * (there[a][0] - there[b][0]) < 0
        ]
        if len(common) < 2:
            return
        verdict = (
            f"UNSTABLE: judge_b swaps {listed(swapped, 3)}" if swapped else "the same under judge and judge_b"
        )
        table.notes.append(f"order of {len(common)} recipes by {table.by.heading}: {verdict}")


def _centres(table: Table, name: str) -> dict[frozenset[tuple[str, str]], tuple[float, str]]:
    return {
        row.runs[0].recipe: (row.cells[name].centre, row.label) for row in table.rows if name in row.cells
    }
