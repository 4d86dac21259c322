"""Rows named by what tells them apart, and by nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ganbench.report.collect import NAMES, Run
from ganbench.report.table import Row, Table
from ganbench.report.text import DASH, clean


def name_rows(table: Table) -> None:
    """Give every row the columns in which the rows differ, and a label made of them."""
    recipes = [{**row.runs[0].names, **_plain(row.runs[0])} for row in table.rows]
    names = [key for key in NAMES if len({recipe[key] for recipe in recipes}) > 1]
    table.shared = {key: recipes[0][key] for key in NAMES if key not in names}
    table.keys = names + _differing(recipes)
    if not table.keys:
        table.keys = ["loss"]
    for row, recipe in zip(table.rows, recipes, strict=True):
        row.recipe = {key: recipe.get(key, DASH) for key in table.keys}
    enough = _enough_keys(table)
    for row, label in zip(table.rows, _unique(_label(row, table.keys) for row in table.rows), strict=True):
        row.label = label
    for row, short in zip(table.rows, _unique(_label(row, enough) for row in table.rows), strict=True):
        row.short = short


def _label(row: Row, keys: Sequence[str]) -> str:
    parts = [
        row.recipe[key] if key in NAMES else f"{key.rsplit('.', 1)[-1]}={row.recipe[key]}"
        for key in keys
        if row.recipe[key] != DASH
    ]
    return clean(" / ".join(parts), 80)


def _unique(labels: Iterable[str]) -> list[str]:
    """Equal labels, possible where they were cut, are numbered."""
    taken: Counter[str] = Counter()
    made = []
    for label in labels:
        taken[label] += 1
        made.append(label if taken[label] == 1 else f"{label} ({taken[label]})")
    return made


def _enough_keys(table: Table) -> list[str]:
    """The names, and of the other keys only those that tell rows apart, short ones first."""
    names = [key for key in table.keys if key in NAMES]
    others = [key for key in table.keys if key not in NAMES]
    chosen = list(names)
    for key in sorted(others, key=lambda key: sum(len(row.recipe[key]) for row in table.rows)):
        if _distinct(table, [*chosen, key]) > _distinct(table, chosen):
            chosen.append(key)
    return [key for key in table.keys if key in chosen]


def _distinct(table: Table, keys: Sequence[str]) -> int:
    return len({tuple(row.recipe[key] for key in keys) for row in table.rows})


def _plain(run: Run) -> dict[str, str]:
    names = {f"{name}.name" for name in NAMES}
    return {key: value for key, value in run.settings.items() if key not in names}


def _differing(recipes: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that tell apart two recipes of the same dataset, model and loss.

    What comes with a name, such as the optimiser of a loss, is said by the name.
    """
    families: dict[tuple[str, ...], list[Mapping[str, str]]] = defaultdict(list)
    for recipe in recipes:
        families[tuple(recipe[key] for key in NAMES)].append(recipe)
    differing: dict[str, None] = {}
    for family in families.values():
        if len(family) > 1:
            for key in dict.fromkeys(key for recipe in family for key in recipe):
                if len({recipe.get(key) for recipe in family}) > 1:
                    differing[key] = None
    return list(differing)
