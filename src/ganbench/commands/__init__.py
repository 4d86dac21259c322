"""One file a sub-command, thin: parse, call, print; here what several of them need."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NoReturn

from ganbench.errors import UserError

RESULTS = (
    ("samples", "samples/final.png"),
    ("samples by class", "samples/per_class.png"),
    ("loss curves", "plots/loss_curves.png"),
    ("scores", "scores.json"),
    ("FID over time", "plots/scores.png"),
    ("history", "history.csv"),
    ("everything else", "run.json"),
)


class Parser(argparse.ArgumentParser):
    """argparse that takes no abbreviations and reports bad usage the way every command does."""

    def __init__(self, prog: str, description: str, epilog: str | None = None, add_help: bool = True) -> None:
        super().__init__(
            prog,
            description=description,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=add_help,
        )

    def error(self, message: str) -> NoReturn:
        """Raise UserError."""
        raise UserError(f"{self.prog.removeprefix('ganbench ')}: {message}; see `{self.prog} --help`")


def where_results_are(path: Path) -> str:
    """The files a person wants to look at first, each with what it is."""
    found = [(what, path / name) for what, name in RESULTS if (path / name).exists()]
    width = max(len(what) for what, _ in found)
    return "\n".join(f"{what:<{width}}  {name}" for what, name in found)


def add_import_path(config_dir: str) -> None:
    """Make the Python modules of the folder, beside its configs, importable as targets."""
    folder = os.path.abspath(config_dir)
    if folder not in sys.path:
        sys.path.insert(0, folder)
        # Launchers that start processes pass the environment on, not sys.path.
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH", "")]))
