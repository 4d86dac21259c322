"""`ganbench train RUN`: what a run directory, or a copy of its config.yaml, says is trained or resumed."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from ganbench import runs
from ganbench.commands import Parser
from ganbench.commands.train import add_import_path, where_results_are
from ganbench.config import Config, validate_stored
from ganbench.errors import RunError, UserError


def is_meant(argv: list[str]) -> bool:
    """Whether something that exists is named in the place of overrides, and no option of Hydra's."""
    arguments, others = _parsed(argv)
    hydras = any(text.startswith("-") for text in others)
    return arguments.run is not None and not hydras and os.path.exists(arguments.run)


def _parsed(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options and RUN, and what is none of them."""
    # Help is Hydra's, which has more to say.
    parser = Parser(
        "ganbench train", description="Resume a run, or train what a config.yaml says.", add_help=False
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run directory, or a config.yaml")
    parser.add_argument("--trust", action="store_true", help="import whatever code the config.yaml names")
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="folder of that code")
    return parser.parse_known_args(argv)


def main(argv: list[str]) -> int:
    """Resume the run in a directory, or train a config.yaml to where it names its run; exit codes as train's.

    Raises:
        UserError: bad usage, or nothing there that can be trained.
    """
    from ganbench.engine.signals import Interrupted
    from ganbench.session import train_run

    arguments, others = _parsed(argv)
    if others:
        raise UserError(
            f"train: {others[0]} beside {arguments.run}: change a copy of its config.yaml and train that"
        )
    if arguments.config_dir:
        add_import_path(arguments.config_dir)
    path = Path(arguments.run)
    place = path if path.is_dir() else None
    config, experiment = _stored(path, arguments.trust)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        # Whoever asked for force=true has had it.
        outcome = train_run({**config, "force": False}, place, experiment=experiment)
    except Interrupted as error:
        return 128 + error.signum
    if outcome.status == runs.COMPLETED:
        print(where_results_are(outcome.path))
    return 0 if outcome.ok else 1


def _stored(path: Path, trust: bool) -> tuple[Config, str | None]:
    """The configuration that a run directory or a file holds, and the experiment it was composed from."""
    if path.is_dir():
        record = runs.read_run(path)
        return validate_stored(record.config, path / "config.yaml", trust), record.info.get("experiment")
    config = runs.load_yaml(path.parent, path.name)
    if not isinstance(config, dict):
        raise RunError(f"{path}: is no configuration; name a run directory, or the config.yaml of one")
    return validate_stored(config, path, trust), None
