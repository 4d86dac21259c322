"""What Hydra says of a composition that failed, as one line with a way out."""

from __future__ import annotations

import difflib
import os
from itertools import chain

from hydra.errors import OverrideParseException
from omegaconf import DictConfig, OmegaConf

from ganbench.config.groups import group_files, group_names

EXTENSIBLE = ("model.", "loss.")
"""Where keys may be added: they are arguments of the classes named there."""

JOBLIB = ("n_jobs", "backend", "prefer", "pre_dispatch", "batch_size", "verbose", "timeout")
"""Keys of the launcher that runs several jobs at once."""


def hydra_message(error: Exception, sweeping: bool = False) -> str:
    """Hydra's message without its search path, and a suggestion for an unknown key.

    `sweeping`: of a sweep, whose fixed keys Hydra holds against the default recipe alone.
    """
    if isinstance(error, OverrideParseException):
        key, equals, value = str(error.override).partition("=")
        if not equals and (key.endswith(".yaml") or os.path.exists(os.path.join(key, "run.json"))):
            return f"{key}: a run directory or config.yaml takes no option of Hydra's; leave the option out"
        if not equals:
            return f"{error.override!r}: neither KEY=VALUE nor a run directory or config.yaml that is there"
        written = f"""'{key}="{value}"'"""
        return (
            f"{error.override!r}: cannot be read as KEY=VALUE; a value with other letters than Hydra "
            f"knows is quoted twice, for the shell and for Hydra: {written}"
        )
    text = str(error).split("Config search path:")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    message = lines[0] if lines else type(error).__name__
    if "Could not find 'experiment/" in message:
        message += _experiments(message.split("'experiment/")[1].split("'")[0])
    elif "Available options in" in text:
        at = next(i for i, line in enumerate(lines) if line.startswith("Available options in"))
        message += f". {lines[at]} {', '.join(lines[at + 1 :])}"
        if "hydra/launcher/joblib" in message:
            message += "; it comes with pip install 'ganbench[parallel]'"
    elif message.startswith("Ambiguous value for argument"):
        key = message.split("'")[1].partition("=")[0]
        message += "; add -m to sweep over the values"
        message += f", or write the list {key}=[A,B] that it is" if "." in key else ""
    elif message.startswith("Config group override must be"):
        message += "; give a group the name of one of its files (`ganbench list` has those of ganbench)"
    elif message.startswith("Multiple values for experiment"):
        message = "+experiment: named twice, and a run has one; compare several with -m +experiment=A,B"
    elif message.startswith("Could not override"):
        message += _way_out(message, lines[1:])
    elif len(lines) > 1:
        message = "; ".join(lines)
    if sweeping and message.startswith(("Could not override", "Could not append")):
        key = message.split("'")[1].partition("=")[0].lstrip("+") if "'" in message else "KEY"
        if key.startswith(EXTENSIBLE):
            message += f". In a sweep over recipes ++{key}=VALUE sets it where there is one, refuses others"
    return message


def _experiments(wanted: str) -> str:
    """The one that was meant, if one is close, and where to look: Hydra names none that is in a folder."""
    close = difflib.get_close_matches(wanted, group_names("experiment"), n=1)
    return (f". Did you mean {close[0]}?" if close else ".") + " All of them: ganbench list experiment"


def _way_out(message: str, hints: list[str]) -> str:
    """The recipes that have the key, or the key that was meant, or Hydra's hint to add one with +."""
    wanted = message.split("'")[1] if "'" in message else ""
    if wanted.removeprefix("hydra.launcher.") in JOBLIB:
        return " It is a key of hydra/launcher=joblib, which runs several jobs at once; add that"
    if wanted.startswith("hydra.sweeper.params"):
        return "; sweep over a key by -m KEY=A,B"
    of_losses = _loss_keys()
    if owners := [name for name, keys in of_losses.items() if wanted in keys]:
        # A key of the optimiser may fit another optimiser, too; one of the loss fits no other loss.
        more = f". {hints[0]}" if hints and wanted.startswith("loss.optimizer.") else ""
        return f" It is a key of loss={', '.join(owners)}, not of this recipe's{more}"
    import hydra

    with hydra.initialize_config_module("ganbench.conf", version_base="1.3"):
        known = [
            key for key in _dotted_keys(hydra.compose("config")) if not f"{wanted}.".startswith(f"{key}.")
        ]
    close = difflib.get_close_matches(wanted, [*known, *chain(*of_losses.values())], n=1, cutoff=0.75)
    meant = f" Did you mean {close[0]}?" if close else ""
    if hints and (wanted == "experiment" or wanted.startswith(EXTENSIBLE)):
        return f"{meant} {hints[0]}"
    return meant or " All keys: ganbench train --cfg job"


def _loss_keys() -> dict[str, list[str]]:
    """The dotted keys of each shipped loss's recipe, by what its file says."""
    return {
        name: _dotted_keys(OmegaConf.create({"loss": OmegaConf.create(text)}))
        for name, text in group_files("loss").items()
    }


def _dotted_keys(node: DictConfig, prefix: str = "") -> list[str]:
    keys = []
    for key in map(str, node):
        keys.append(f"{prefix}{key}")
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            keys += _dotted_keys(child, f"{prefix}{key}.")
    return keys
