"""`ganbench train`: Hydra composes, `ganbench.session` trains; a sweep ends with a table."""

from __future__ import annotations

import argparse
import contextlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ganbench import runs
from ganbench.commands import add_import_path, sweep, where_results_are
from ganbench.config import finalise, hydra_message, require_own_names, require_texts, run_name
from ganbench.errors import ConfigError, UserError, exited, fail
from ganbench.quick import no_garbage


@dataclass
class _State:
    """What the jobs of this process leave for `main`: Hydra's own return value is not handed out."""

    in_main: bool = False
    """Whether this process is the command's own, not one of a launcher's."""
    code: int = 0
    error: Exception | None = None
    stopped: int | None = None
    """Signal that has ended a job of this process."""
    folder: Path | None = None
    """What Hydra is about to make."""
    made: list[Path] = field(default_factory=list)
    """It and those above it, where they are missing."""


_state = _State()


def main(argv: list[str]) -> int:
    """Train one run or a sweep; 0 when everything asked for is complete, else 1, or 128 + N by signal N.

    Raises:
        UserError: refused before training.
    """
    from ganbench.commands import again
    from ganbench.engine.signals import Interrupted, Relay

    if run := again.asked_for(argv):
        return again.main(run)
    global _state
    _state = _State(in_main=True)
    arguments = _parsed(argv)
    # Else Hydra prints errors its own way and exits with 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # argparse takes the overrides in one piece only, and before options whose value may be missing.
    options = [text for text in argv if text not in arguments.overrides]
    sys.argv = ["ganbench train", *arguments.overrides, *options]
    app = hydra.main(version_base="1.3", config_path="pkg://ganbench.conf", config_name="config")
    if arguments.info is not None:  # Hydra logs it, with a traceback for each line whose reader has gone
        logging.raiseExceptions = False
    relay = Relay()
    try:
        with relay, _in_our_words(arguments):
            app(_job)()
    except Interrupted as error:
        _tell_of_stopped(arguments)
        return 128 + error.signum
    except RuntimeError:
        if relay.received is None:
            raise
        # It ended workers that had not come as far as to end in good order.
        fail(str(Interrupted(relay.received)))
        _tell_of_stopped(arguments)
        return 128 + relay.received
    finally:
        _discard_made()
    if _state.error is not None:
        raise _state.error
    if relay.received is not None:
        return 128 + relay.received
    return _state.code


@contextlib.contextmanager
def _in_our_words(arguments: argparse.Namespace) -> Iterator[None]:
    """A block in which what Hydra raises becomes a UserError of one line."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError) and arguments.config_dir:
            require_texts(arguments.config_dir)  # it names the file
        raise ConfigError(hydra_message(error, sweeping=arguments.multirun)) from error
    except OSError as error:
        if error.filename is None:  # stdout's
            raise
        way_out = ""
        if _is_on_the_way(Path(error.filename)):
            way_out = (
                "; choose another folder by output_root=FOLDER, hydra.run.dir=FOLDER or, for a sweep's own, "
                "hydra.sweep.dir=FOLDER"
            )
        raise UserError(f"{error.filename}: {error.strerror}{way_out}") from error


class SweepSummary(Callback):
    """Hydra callback that prints, after a sweep, what became of every job."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Of a single run: the folder that Hydra is about to make for it."""
        with contextlib.suppress(OmegaConfBaseException):  # Hydra will say so itself
            _look_at(Path(str(OmegaConf.select(config, "hydra.run.dir"))))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A sweep has failed until its summary says otherwise."""
        _state.code = 1
        folder = Path(config.hydra.sweep.dir).absolute()
        _look_at(folder)
        sweep.begin(folder)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Read the run directories of the sweep's jobs and print a line each."""
        jobs, failed = sweep.print_table()
        _state.code = 1 if failed or not jobs else 0


def _tell_of_stopped(arguments: argparse.Namespace) -> None:
    """The table of a sweep that a signal has ended, where one of its jobs has."""
    if arguments.multirun and sweep.has_records():
        sweep.print_table()


def _look_at(folder: Path) -> None:
    """Note a folder that Hydra is about to make, and which of it and those above it are missing."""
    whole = folder.resolve()
    _state.folder = whole
    _state.made = [path for path in (whole, *whole.parents) if not os.path.lexists(path)]


def _is_on_the_way(path: Path) -> bool:
    """Whether a path is above or below the folder that Hydra was to make."""
    whole, folder = path.resolve(), _state.folder
    return folder is not None and (whole.is_relative_to(folder) or folder.is_relative_to(whole))


def _discard_made() -> None:
    """Leave no folder behind of what ended before a run, or a sweep's first job, was in it."""
    with contextlib.suppress(OSError):  # another sweep's are in it; why this one was refused matters more
        for folder in filter(Path.exists, _state.made):
            if [path.name for path in folder.iterdir()] == ["multirun.yaml"]:
                (folder / "multirun.yaml").unlink()
            folder.rmdir()


def _job(composed: DictConfig) -> None:
    """One job of Hydra's: neither raises an Exception nor exits, so that the rest of a sweep goes on.

    That of a single run is left for `main`; what Hydra raises is then about the command line alone.
    """
    from ganbench.engine.signals import Interrupted

    settings = HydraConfig.get()
    sweeping = settings.mode == RunMode.MULTIRUN
    # As they were given: one that refers to a key that is not there is told by that key, by `finalise`.
    overrides = OmegaConf.to_container(settings.overrides.task, resolve=False)
    assert isinstance(overrides, list)
    result: dict[str, Any] = {"overrides": overrides}
    stopped: Interrupted | None = None
    place: Path | None = None
    try:
        with no_garbage():
            config = finalise(composed, overrides)
        result["run"] = run_name(config)
        if _state.stopped is not None:
            raise Interrupted(_state.stopped)
        place = Path(config["output_root"], result["run"])
        outcome = _train(config, composed, settings)
        result.update(path=str(outcome.path), status=outcome.status, reason=outcome.reason)
        if not sweeping and outcome.status == runs.COMPLETED:
            print(where_results_are(outcome.path))
        _state.code = 0 if outcome.ok else 1
    except Interrupted as error:
        stopped = error
        _state.stopped = error.signum
        result.update(status=runs.INTERRUPTED, reason=str(error))
        if place is not None:  # else nothing of it was begun
            result.update(path=str(place))
    except (Exception, SystemExit) as raised:
        failure = exited(raised) if isinstance(raised, SystemExit) else raised
        refused = isinstance(failure, UserError)
        reason = str(failure) if refused else f"{type(failure).__name__}: {failure}"
        result.update(status=sweep.REFUSED if refused else runs.FAILED, reason=reason)
        if not sweeping:
            _state.error = failure
        elif refused:
            fail(str(failure))
    if sweeping:
        sweep.leave(result, settings.job.num)
        if not _state.in_main:
            _end_if_orphaned()
    # Raised in a process of the launcher's, it would have the others killed where they stand.
    if stopped is not None and _state.in_main:
        raise stopped


def _end_if_orphaned() -> None:
    """End a launcher's process whose sweep was killed: it would wait for ever to hand its result over."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        sys.stdout.flush()
        os._exit(1)


def _train(config: dict[str, Any], composed: DictConfig, settings: Any) -> Any:
    from ganbench.session import train_run

    recorded = (composed, OmegaConf.create({"hydra": settings}), settings.overrides.task)
    records = {name: OmegaConf.to_yaml(what) for name, what in zip(runs.HYDRAS, recorded, strict=True)}
    if OmegaConf.is_missing(settings.run, "dir"):
        raise ConfigError("hydra.run.dir=???: names no folder; give one, or leave the key out")
    chosen = Path(settings.run.dir)
    asked = any(text.lstrip("+").startswith("hydra.run.dir=") for text in settings.overrides.hydra)
    single = settings.mode == RunMode.RUN and (asked or chosen != Path("."))
    if single and str(chosen).startswith("~"):
        raise ConfigError(f"hydra.run.dir={chosen}: a ~ that no shell has expanded; write the whole path")
    if settings.job.chdir:
        raise ConfigError("hydra.job.chdir=true: runs have folders of their own; leave it out")
    experiment = settings.runtime.choices.get("experiment")
    return train_run(config, chosen if single else None, records, experiment)


def _parsed(argv: list[str]) -> argparse.Namespace:
    """The options as Hydra reads them, and as `overrides` what is neither one nor its value.

    The modules of a ``--config-dir`` can be imported then.

    Raises:
        UserError: an option is unknown, in one line, where Hydra would print its whole usage; or with it
            something else would be trained than it says.
    """

    def refuse(message: str) -> NoReturn:
        raise UserError(f"train: {message}; see `ganbench train --help`")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args(argv)
    if arguments.config_name or arguments.config_path:
        raise UserError(
            "train: --config-name and --config-path: all begins with ganbench's own configuration; "
            "change that by KEY=VALUE, add files of your own by --config-dir"
        )
    if arguments.multirun and any(
        text.lstrip("+").startswith("hydra.run.dir=") for text in arguments.overrides
    ):
        raise UserError(
            "train: hydra.run.dir is the folder of a single run; those of a sweep are put below output_root"
        )
    if arguments.config_dir:
        require_own_names(arguments.config_dir)
        add_import_path(arguments.config_dir)
    return arguments
