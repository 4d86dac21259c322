"""One run from an accepted configuration to a finished run directory.

Here the parts meet: data, engine, run directory, metrics and plots.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ganbench import config as configuration
from ganbench import runs
from ganbench.config import Config
from ganbench.data import Dataset, build_dataset, has_all_checksums
from ganbench.earlier import (
    changed_code,
    code_of_all_steps,
    completed,
    info_before,
    require_own,
    require_same_images,
    tell_skipped,
)
from ganbench.engine.advice import warn_of
from ganbench.engine.checkpoint import load_latest
from ganbench.engine.checks import check_recipe
from ganbench.engine.device import set_up
from ganbench.engine.divergence import DivergedError
from ganbench.engine.loggers import open_logger, require_logger
from ganbench.engine.loop import Training
from ganbench.engine.signals import Interrupted, StopSignals
from ganbench.errors import ConfigError, RunError, UserError, told
from ganbench.hardware import resolve_device
from ganbench.metrics.protocol import now
from ganbench.quick import no_garbage
from ganbench.runs import RunDirectory, RunHeldError, RunRecord, UnwritableError
from ganbench.scorer import RunScorer, drop_stale, exported
from ganbench.versions import git_state, versions

UNTRAINED: dict[str, Any] = {
    "steps_done": 0,
    "steps_total": None,
    "images_seen": 0,
    "seconds": {"train": 0.0, "eval": 0.0, "other": 0.0},
    "peak_memory_bytes": 0,
    "execution": None,
    "parameters": None,
    "diagnosis": [],
}
"""What run.json says of a training before its first step."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its directory, status and reason, and whether there was nothing to do."""

    path: Path
    status: str
    reason: str | None = None
    skipped: bool = False

    @property
    def ok(self) -> bool:
        """Whether the run directory holds a completed run, or another process is at it."""
        return self.status == runs.COMPLETED or self.skipped


def run_path(config: Config) -> Path:
    """The run directory of a configuration."""
    return Path(config["output_root"]) / configuration.run_name(config)


def train_run(
    config: Config,
    path: Path | None = None,
    records: Mapping[str, str] | None = None,
    experiment: str | None = None,
) -> Outcome:
    """Train what `config` says, unless its directory holds it already; resume what was begun.

    `records` are further small files for the run directory, by name; `experiment` names the file that the
    configuration came from, for tables.

    Raises:
        UserError: refused before a run directory was made: configuration, device, data, folder.
        Interrupted: a signal came; the run directory is consistent and resumable.
    """
    device = resolve_device(config["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device.index or 0)  # that of a run before may be another
    with no_garbage():
        check_recipe(config)
    require_logger(config["logger"])
    set_up(config["threads"], config["deterministic"])
    if path is not None:
        require_own(path)
    path = path or run_path(config)
    code = configuration.foreign_code(config)
    done = completed(path, config)
    if done and has_all_checksums(config["dataset"]["source"]):  # other images may have changed
        return _skipped(done, config, experiment, code)
    with no_garbage():
        dataset = build_dataset(config["dataset"])
    if done:
        require_same_images(path, dataset)
        return _skipped(done, config, experiment, code)
    _check_dataset(config, dataset)
    scorer = RunScorer(config, dataset, device) if config["eval"]["enabled"] else None
    try:
        run = _opened(path)
    except RunHeldError as error:
        log.info("%s; left to it", error)
        return Outcome(path, runs.RUNNING, str(error), skipped=True)
    with contextlib.closing(run):
        # Another process may have finished it between the first look and the lock.
        if done := completed(path, config):
            return _skipped(done, config, experiment, code)
        run.sweep_temporaries()
        if config["force"]:
            run.clear()
        require_same_images(path, dataset)
        with runs.logged_to(path / "train.log"), StopSignals() as stop:
            return _Session(run, config, code, dataset, device, scorer, records or {}, experiment).train(stop)


def _opened(path: Path) -> RunDirectory:
    try:
        return RunDirectory(path).open()
    except UnwritableError as error:
        way_out = "or choose another with output_root=FOLDER or hydra.run.dir=FOLDER"
        raise RunError(f"output_root: {error}, {way_out}") from error


def _skipped(record: RunRecord, config: Config, experiment: str | None, code: dict[str, str]) -> Outcome:
    tell_skipped(record, config, experiment, code)
    return Outcome(record.path, record.status, skipped=True)


@dataclass
class _Session:
    """The run proper, its directory locked: whatever happens, run.json says it."""

    run: RunDirectory
    config: Config
    code: dict[str, str]
    dataset: Dataset
    device: torch.device
    scorer: RunScorer | None
    records: Mapping[str, str]
    experiment: str | None
    training: Training | None = None
    changed_code: str = ""

    def train(self, stop: StopSignals) -> Outcome:
        """Train to the end of the budget, or to what ends the run before."""
        try:
            with stop.deferred():
                self._begin()
                training = self._prepare()
            warn_of(self.config, self.device)
            log.info("training %s on %s for %d steps", self.run.path, self.device, training.total_steps)
            reason = training.run(self.run, stop, self.scorer.on_the_way if self.scorer else None)
            if reason is not None:
                self._keep(training)
                return self._end(runs.FAILED, reason)
            self._finish(training)
        except Interrupted as error:
            self._save_what_can_be()
            self._end(runs.INTERRUPTED, str(error), f"; {_same_command(self.config)} resumes it")
            raise
        except DivergedError as error:
            self._leave_traces(error)
            return self._end(runs.DIVERGED, str(error))
        except (Exception, SystemExit) as error:  # somebody's own code may even exit
            log.debug("failed", exc_info=True)
            # A state that was not resumed has no history yet: that on the disk is better.
            if self.training is not None and self.training.step:
                with contextlib.suppress(OSError):  # it may be why the run failed
                    self.training.save_history(self.run)
            way_out = "" if isinstance(error, (UserError, OSError)) else "; train.log says where"
            return self._end(runs.FAILED, _why(error, self.config), way_out)
        finally:
            if self.training is not None:
                with contextlib.suppress(OSError):  # a full disk must not take the place of the outcome
                    self.training.logger.close()
        return self._end(runs.COMPLETED, None)

    def _begin(self) -> None:
        """Mark the directory as this run's, now running."""
        config, run, before = self.config, self.run, info_before(self.run.path)
        self.changed_code = changed_code(before, self.code)
        run.info.update(before)  # what is known of earlier training, until this start knows better
        run.write_info(
            schema=runs.SCHEMA,
            status=runs.RUNNING,
            reason=None,
            name={group: config[group]["name"] for group in ("dataset", "model", "loss")},
            experiment=self.experiment or before.get("experiment"),
            config_hash=configuration.identity(config),
            seed=config["seed"],
            dataset_sha256=self.dataset.sha256,
            resumed=before["resumed"] if isinstance(before.get("resumed"), int) else 0,
            code=before.get("code", self.code),
            device=_device_name(self.device),
            precision=config["precision"],
            versions=versions(),
            git=git_state(),
            host=_host(),
            started_at=before.get("started_at", now()),
            finished_at=None,
            **{name: before.get(name, value) for name, value in UNTRAINED.items()},
        )
        run.write_config(configuration.to_yaml({**config, "force": False}))
        for name, text in self.records.items():
            run.write_bytes(name, text.encode())

    def _prepare(self) -> Training:
        """The training where its last checkpoint left it, with its logger; run.json says how large it is."""
        run, config = self.run, self.config
        training = Training(config, self.dataset, self.device)
        state = load_latest(run.path, training.config_hash)
        if state is None:  # the first start, or what was begun left nothing to go on from
            run.write_info(resumed=0, code=self.code)
        else:
            training.load_state_dict(state)
            run.write_info(resumed=run.info["resumed"] + 1, code=code_of_all_steps(run.info, self.code))
            log.info("%s: resumed at step %d", run.path, training.step)
            if self.changed_code:
                log.warning(
                    "%s: its first steps were taken by other code of %s; force=true trains it anew",
                    run.path,
                    self.changed_code,
                )
        run.write_info(**training.progress(), diagnosis=training.diagnostics.as_dicts())
        if self.scorer is not None:
            drop_stale(training, run)
        run.write_info(parameters=training.gan.parameter_counts(), steps_total=training.total_steps)
        training.logger = open_logger(config["logger"], run.path, training.step)
        training.logger.text("config", configuration.to_yaml(config), training.step)
        self.training = training  # not before: what was half resumed is not worth keeping
        return training

    def _finish(self, training: Training) -> None:
        """What a trained run leaves: weights, pictures, scores, plots."""
        run = self.run
        run.write_bytes(runs.GENERATOR["last"], exported(training))
        if training.gan.ema is not None:
            run.write_bytes(runs.GENERATOR["ema"], exported(training, "ema"))
        training.write_pictures(run)
        # Also here: a run killed between its last checkpoint and the history takes no step more.
        training.save_history(run)
        if self.scorer is not None:
            self.scorer.at_the_end(training, run)
            final = [record for record in runs.read_scores(run.path) if record["when"] == "final"]
            training.diagnose(run, [record for record in final if record["weights"] != "ema"])
        _plot(run)
        run.write_info(**training.progress())

    def _keep(self, training: Training) -> None:
        """What a stopped run leaves: a checkpoint to look at and to go on from, pictures, plots."""
        training.save(self.run)
        training.write_pictures(self.run)
        _plot(self.run)

    def _save_what_can_be(self) -> None:
        """A checkpoint for the run to go on from, where there is a step to keep."""
        if self.training is not None and self.training.step:
            # Weights that are no numbers are not worth keeping; the checkpoint before them is. And a full
            # disk must not take the place of the signal, or a sweep would go on.
            with contextlib.suppress(DivergedError, OSError):
                self.training.save(self.run)

    def _leave_traces(self, error: DivergedError) -> None:
        """What a diverged run leaves of its last steps."""
        assert self.training is not None
        diverged = partial(self.training.note_divergence, step=error.step)
        for leave in (self.training.save_history, diverged, _plot):
            with contextlib.suppress(OSError, RunError):  # what can be written is; it diverged either way
                leave(self.run)

    def _end(self, status: str, reason: str | None, way_out: str = "") -> Outcome:
        try:
            self.run.write_info(status=status, reason=reason, finished_at=now())
        except OSError as error:
            # A full disk: run.json stays at "running", which readers know for a dead run without a lock.
            status, reason = runs.FAILED, reason or f"run.json could not be updated: {error}"
        if reason:
            log.error("%s: %s: %s%s", self.run.path, status, reason, way_out)
        return Outcome(self.run.path, status, reason)


def _same_command(config: Config) -> str:
    """What goes on with a run; with ``force`` it would be begun anew."""
    return "the same command without force=true" if config["force"] else "the same command"


def _why(error: BaseException, config: Config) -> str:
    """The reason for run.json: of our own errors and the system's without a Python name."""
    if isinstance(error, OSError) and error.strerror:
        return (
            f"{error.filename or 'a file'}: {error.strerror}; when that is mended, "
            f"{_same_command(config)} resumes from the last checkpoint"
        )
    return str(error) if isinstance(error, UserError) else told(error)


def _check_dataset(config: Config, dataset: Dataset) -> None:
    declared = config["dataset"]["num_train"]
    if len(dataset.train) != declared:
        raise ConfigError(
            f"dataset.num_train={declared}: {dataset.name} has {len(dataset.train)} training images; "
            f"set dataset.num_train={len(dataset.train)}"
        )


def _plot(run: RunDirectory) -> None:
    from ganbench.report.run_plots import loss_curves, scores_over_time

    record = runs.read_run(run.path)
    if record.history:
        run.write_bytes("plots/loss_curves.png", loss_curves(record))
    if record.scores:
        run.write_bytes("plots/scores.png", scores_over_time(record))


def _device_name(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{device} ({name})"


def _host() -> dict[str, Any]:
    return {
        "name": socket.gethostname(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
