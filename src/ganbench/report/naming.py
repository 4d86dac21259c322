"""Rows named by what tells them apart, and by nothing else."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from ganbench.report.collect import DATA, NAMES, Run
from ganbench.report.defaults import set_by_hand
from ganbench.report.table import Row, Table
from ganbench.report.text import DASH, clean

EXPERIMENT = "experiment"
NAMED = (EXPERIMENT, *NAMES)
"""Columns whose values say themselves what they are of."""

BUDGETS = ("train.steps", "train.epochs", "train.images")

LONGEST = 80
"""Characters of a label."""
_OFF = ("=null", "=false")

DERIVED = {
    "loss.d_lr": ("loss.optimizer.lr",),
    "loss.g_lr": ("loss.optimizer.lr",),
    "model.generator.z_dim": ("model.z_dim",),
    "model.generator.channels": ("dataset.channels",),
    "model.generator.image_size": ("dataset.image_size",),
    "model.generator.num_classes": ("dataset.num_classes",),
    "model.discriminator.channels": ("dataset.channels", "remedy.pack"),
    "model.discriminator.image_size": ("dataset.image_size",),
    "model.discriminator.num_classes": ("dataset.num_classes",),
    "model.discriminator.norm": ("loss.critic_norm",),
    "model.discriminator.features": ("loss.critic_norm", "model.discriminator.norm"),
    "model.discriminator.dropout": ("loss.critic_norm", "model.discriminator.norm"),
}
"""Keys that follow from others, by interpolation in `conf/`, unless somebody sets them."""


def name_rows(table: Table) -> None:
    """Give every row the columns in which the rows differ, and a label made of them."""
    recipes = [{**row.runs[0].names, **_plain(row.runs[0])} for row in table.rows]
    names = [key for key in NAMES if len({recipe[key] for recipe in recipes}) > 1]
    table.shared = {key: recipes[0][key] for key in NAMES if key not in names}
    families: tuple[str, ...] = NAMES
    if experiments := _experiments(table):
        for recipe, experiment in zip(recipes, experiments, strict=True):
            recipe[EXPERIMENT] = experiment
        families = NAMED
        # An experiment's name says its model and loss, unless it was run with others.
        names = [EXPERIMENT, *(key for key in names if not _follows(key, (EXPERIMENT,), recipes))]
    elif shared := _shared_experiment(table):
        table.shared[EXPERIMENT] = shared
    table.keys = names + _differing(recipes, families)
    table.keys += [key for key in _by_hand(table, recipes) if key not in table.keys]
    if not table.keys:
        table.keys = ["loss"]
    for row, recipe in zip(table.rows, recipes, strict=True):
        row.recipe = {key: recipe.get(key, DASH) for key in table.keys}
    enough = _enough_keys(table)
    for row, label in zip(table.rows, _unique(_label(row, table.keys) for row in table.rows), strict=True):
        row.label = label
    for row, short in zip(table.rows, _unique(_label(row, enough) for row in table.rows), strict=True):
        row.short = short


def _experiments(table: Table) -> list[str]:
    """The experiment of each row, where every run has one and they tell rows apart; else nothing."""
    found = [{run.experiment for run in row.runs} for row in table.rows]
    names = [experiments.pop() for experiments in found if len(experiments) == 1]
    told = [name for name in names if name is not None]
    return told if len(told) == len(found) and (len(set(told)) > 1 or len(told) == 1) else []


def _shared_experiment(table: Table) -> str | None:
    """The experiment of all runs, where they are one experiment's, run in several ways."""
    names = {run.experiment for row in table.rows for run in row.runs}
    return names.pop() if len(names) == 1 else None


def _follows(key: str, others: Sequence[str], recipes: Sequence[Mapping[str, str]]) -> bool:
    """Whether recipes that agree in `others` agree in `key`."""
    pairs = {(tuple(recipe.get(other) for other in others), recipe.get(key)) for recipe in recipes}
    return len(pairs) == len({values for values, _ in pairs})


def _label(row: Row, keys: Sequence[str]) -> str:
    whole = _parts(row, keys)
    # What is off is left out where not all has room: what is on says more.
    on = [part for part in whole if not part.endswith(_OFF)]
    parts = whole if len(" / ".join(whole)) <= LONGEST or not on else on
    return clean(" / ".join(parts), LONGEST) or DASH


def _parts(row: Row, keys: Sequence[str]) -> list[str]:
    last = Counter(key.rpartition(".")[2] for key in keys)
    parts = []
    for key in keys:
        # Keys of one last name are shown with the one before it: generator.widths, discriminator.widths.
        *before, name = key.split(".")
        shown = name if last[name] == 1 else ".".join([*before[-1:], name])
        if row.recipe[key] != DASH:
            parts.append(row.recipe[key] if key in NAMED else f"{shown}={row.recipe[key]}")
    return parts


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
    names = [key for key in table.keys if key in NAMED]
    others = [key for key in table.keys if key not in NAMED]
    chosen = list(names)
    for key in sorted(others, key=lambda key: sum(len(row.recipe[key]) for row in table.rows)):
        if _distinct(table, [*chosen, key]) > _distinct(table, chosen):
            chosen.append(key)
    return [key for key in table.keys if key in chosen]


def _distinct(table: Table, keys: Sequence[str]) -> int:
    return len({tuple(row.recipe[key] for key in keys) for row in table.rows})


def _plain(run: Run) -> dict[str, str]:
    """The settings of a run but for the names of its dataset, model and loss."""
    names = {f"{name}.name" for name in NAMES}
    return {key: value for key, value in run.settings.items() if key not in names}


def _by_hand(table: Table, recipes: Sequence[Mapping[str, str]]) -> list[str]:
    """Keys that tell recipes apart and, in one of them at least, are not what its names bring.

    Without those of the budget, of which the table has columns of its own.
    """
    differing = [key for key in dict.fromkeys(chain(*recipes)) if len({r.get(key) for r in recipes}) > 1]
    told = EXPERIMENT in table.keys or EXPERIMENT in table.shared
    found: set[str] = set()
    for row in table.rows:
        run = row.runs[0]
        found |= set_by_hand(run.names, run.experiment if told else None, _plain(run))
    return [
        key
        for key in differing
        if key in found
        and key not in (DATA, *BUDGETS)
        and not (key in DERIVED and _follows(key, DERIVED[key], recipes))
    ]


def _differing(recipes: Sequence[Mapping[str, str]], same: Sequence[str]) -> list[str]:
    """Keys that tell apart two recipes which are the `same` by name: of one dataset, model and loss.

    What comes with a name, such as the optimiser of a loss, is said by the name; what follows from
    another key is said by that.
    """
    families: dict[tuple[str, ...], list[Mapping[str, str]]] = defaultdict(list)
    for recipe in recipes:
        families[tuple(recipe[key] for key in same)].append(recipe)
    differing: dict[str, None] = {}
    for family in families.values():
        if len(family) > 1:
            keys = dict.fromkeys(key for recipe in family for key in recipe)
            # Images of another size, say, have another hash.
            derived = {**DERIVED, DATA: [key for key in keys if key.startswith("dataset.")]}
            for key in keys:
                if len({recipe.get(key) for recipe in family}) > 1 and not (
                    key in derived and _follows(key, derived[key], family)
                ):
                    differing[key] = None
    return list(differing)
