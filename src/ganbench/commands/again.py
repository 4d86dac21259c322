"""`ganbench train RUN`: what a run directory, or a copy of its config.yaml, says is trained or resumed."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from pathlib import Path

from ganbench import runs
from ganbench.commands import Parser, add_import_path, where_results_are
from ganbench.config import Config, validate_stored
from ganbench.errors import RunError, UserError, exited

FORCE = re.compile(r"\+{0,2}force=(true|false)", re.IGNORECASE)


def asked_for(argv: list[str]) -> argparse.Namespace | None:
    """The options where something that exists is named instead of overrides; None with any of Hydra's.

    Raises:
        UserError: overrides stand beside it, but for ``force=true``.
    """
    # Help is Hydra's, which has more to say.
    parser = Parser(
        "ganbench train", description="Resume a run, or train what a config.yaml says.", add_help=False
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run directory, or a config.yaml")
    parser.add_argument("--trust", action="store_true", help="import whatever code the config.yaml names")
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="folder of that code")
    # RUN first, whatever the order.
    arguments, others = parser.parse_known_args(sorted(argv, key=lambda text: bool(FORCE.fullmatch(text))))
    hydras = any(text.startswith("-") for text in others)
    if arguments.run is None or hydras or not os.path.exists(arguments.run):
        return None
    asked = [found for text in others if (found := FORCE.fullmatch(text))]
    arguments.force = bool(asked) and asked[-1][1].lower() == "true"
    if others := [text for text in others if not FORCE.fullmatch(text)]:
        raise UserError(
            f"train: {others[0]} beside {arguments.run}: change a copy of its config.yaml and train that"
        )
    return arguments


def main(arguments: argparse.Namespace) -> int:
    """Resume the run in a directory, or train a config.yaml to where it names its run; exit codes as train's.

    Raises:
        UserError: nothing is there that can be trained.
    """
    from ganbench.engine.signals import Interrupted
    from ganbench.session import train_run

    if arguments.config_dir:
        add_import_path(arguments.config_dir)
    path = Path(arguments.run)
    place = path if path.is_dir() else None
    config, experiment = _stored(path, arguments.trust)
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.INFO)  # train.log alone takes the rows of each interval
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    try:
        # The file's own force=true was for the start that wrote it.
        outcome = train_run({**config, "force": arguments.force}, place, _records(place), experiment)
    except SystemExit as error:
        raise exited(error) from error
    except Interrupted as error:
        return 128 + error.signum
    if outcome.status == runs.COMPLETED:
        print(where_results_are(outcome.path))
    return 0 if outcome.ok else 1


def _records(place: Path | None) -> dict[str, str]:
    """Hydra's record of the run in a directory, which is trained anew under the same."""
    if place is None:
        return {}
    return {name: runs.read_text(place, name) for name in runs.HYDRAS if (place / name).is_file()}


def _stored(path: Path, trust: bool) -> tuple[Config, str | None]:
    """The configuration that a run directory or a file holds, and the experiment it was composed from."""
    if path.is_dir():
        record = runs.read_run(path)
        config = validate_stored(record.config, path / "config.yaml", trust)
        record.require_unchanged()
        return config, record.info.get("experiment")
    config = runs.load_yaml(path.parent, path.name)
    if not isinstance(config, dict):
        raise RunError(f"{path}: is no configuration; name a run directory, or the config.yaml of one")
    return validate_stored(config, path, trust), None
