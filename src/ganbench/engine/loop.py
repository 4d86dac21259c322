"""The training loop: one for every loss, model, dataset and device."""

from __future__ import annotations

import copy
import gc
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ganbench.config import Config, identity
from ganbench.data import Batches, Dataset
from ganbench.engine import checkpoint
from ganbench.engine.budget import count_steps
from ganbench.engine.clock import Clock
from ganbench.engine.device import compiler_error, no_advice, synchronize
from ganbench.engine.diagnostics import Diagnosis, Diagnostics
from ganbench.engine.divergence import require_finite
from ganbench.engine.diversity import diversity, probe_inputs, real_distance
from ganbench.engine.failures import DIVERGENCE
from ganbench.engine.gan import build_gan, build_loss
from ganbench.engine.images import grid, png, square_grid
from ganbench.engine.loggers import Logger
from ganbench.engine.optimizers import load_optimizer
from ganbench.engine.remedies import generator_objective
from ganbench.engine.sampling import generate, latents
from ganbench.engine.signals import StopSignals
from ganbench.engine.step import Step
from ganbench.errors import RunError, one_line
from ganbench.hardware import forget_peak_memory, peak_memory
from ganbench.runs import HISTORY_COLUMNS, METRICS, RunDirectory

SAMPLE_COUNT = 64
CLASS_COLUMNS = 10
HISTORY_SECONDS = 2.0  # the file is written whole, so seldom enough to cost nothing in long runs

log = logging.getLogger(__name__)

Score = Callable[["Training", RunDirectory], None]


class Training:
    """A run in progress: everything the next step depends on, and the loop that goes on from there."""

    def __init__(self, config: Config, dataset: Dataset, device: torch.device) -> None:
        """Seed, build both networks, put the data on the device.

        The order of the images, the initial weights and all noise follow from ``seed`` alone.
        """
        self.config = config
        self.config_hash = identity(config)
        self.device = device
        torch.manual_seed(config["seed"])
        self.gan = build_gan(config, device)
        if device.type == "cuda":
            gc.collect()  # an earlier run's step and its graph refer to each other
        forget_peak_memory(device)
        train, loss = config["train"], config["loss"]
        self.batches = Batches(dataset.train, train["batch_size"], config["seed"], device, train["drop_last"])
        strategy, remedy = build_loss(config), config["remedy"]
        self.do_step = Step(
            self.gan,
            strategy,
            self.batches,
            n_critic=loss["n_critic"],
            same_batch=loss["same_batch"],
            device=device,
            precision=config["precision"],
            compile=config["compile"],
            reuse_fakes=loss["reuse_fakes"],
            d_loss_weight=loss["d_loss_weight"],
            pack=remedy["pack"],
            objective=generator_objective(remedy, strategy, self.gan.discriminator, loss["d_loss_weight"]),
        )
        self.total_steps = count_steps(config, self.batches)
        self.clock = Clock(device)
        self.logger = Logger()
        self.step = 0
        self.images = 0
        self.history: list[list[float]] = []
        self.scores: list[dict[str, Any]] = []
        self.diagnostics = Diagnostics(self.config)
        self._history_written = 0.0
        self._metrics = torch.zeros(train["log_every"], len(METRICS), device=device)
        self._sample_z, self._sample_labels = sample_inputs(config)
        self._probe = probe_inputs(self.gan.z_dim, self.gan.num_classes)
        self._real_distance = real_distance(self.batches.images)

    def run(self, run: RunDirectory, stop: StopSignals, score: Score | None) -> str | None:
        """Train up to the budget, writing rows, samples and checkpoints into `run` on the way.

        None at the budget's end; before it, why: a failure was found that ``train.stop_on`` names.

        Raises:
            DivergedError: within one logging interval of the first non-finite value.
            Interrupted: a signal came; the state is that after a whole step.
        """
        if self._stop_reason() is None:
            with stop.deferred():  # a signal in a step to be undone would have it saved
                self.warm_up()
        if self.step == 0:
            self.write_samples(run)
        total, begun = self.total_steps, self.step
        with (
            tqdm(total=total, initial=begun, unit="step", disable=None, smoothing=0.05) as bar,
            # Changed only where something is due: each change waits for the device.
            self.clock("train"),
        ):
            while True:
                # Here and not at the loop's end: a run resumed on this step still owes its score.
                if score is not None:
                    self._score_if_owed(run, score)
                if self.step == total:
                    return None
                # Here too: a run resumed where it was stopped goes no further.
                if reason := self._stop_reason():
                    return reason
                with stop.deferred():
                    self.advance()
                    bar.update()
                    if self._write_due(run):
                        bar.set_postfix(self._shown(), refresh=False)

    def warm_up(self) -> None:
        """Have the step compiled, by doing one or two that are undone: no time of training, no step of it.

        What no compiler takes is run eagerly, and a warning says so.
        """
        if self.step == self.total_steps:
            return
        while self.do_step.compiled:
            state = copy.deepcopy(self.state_dict())
            try:
                with no_advice():
                    self.do_step()
                    if self.do_step.optimizers_compiled:  # from the second on, when they have their states
                        self.do_step()
                return
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # each backend fails in its own way
                what, why = self.do_step.compile_less(), compiler_error(error)
                log.warning("compile=true: %s does not compile (%s); eager it is", what, why)
            finally:
                synchronize(self.device)  # a step that failed may have left work on another stream
                self._load(state)

    def _score_if_owed(self, run: RunDirectory, score: Callable[[Training, RunDirectory], None]) -> None:
        """Score the present weights where this step is one of ``eval.every``."""
        if self._owes_score():
            with self.clock("other"):
                self._require_finite()
                score(self, run)

    def _write_due(self, run: RunDirectory) -> bool:
        """Write what this step is to leave; whether there was anything."""
        due = self._due()
        if due:
            with self.clock("other"):
                for write in due:
                    write(run)
        return bool(due)

    def _due(self) -> list[Callable[[RunDirectory], None]]:
        """What is to be written after this step, at the end of its interval or of the budget."""
        every, last = self.config["train"], self.step == self.total_steps
        writers = {
            "log_every": self._log_interval,
            "sample_every": self.write_samples,
            "checkpoint_every": self.save,
        }
        return [write for key, write in writers.items() if last or self.step % every[key] == 0]

    def save(self, run: RunDirectory) -> None:
        """Write a checkpoint, the history up to it, and run.json.

        Raises:
            DivergedError: there is nothing worth keeping.
        """
        self._require_finite()
        self.logger.flush()
        run.rotate_checkpoint(checkpoint.to_bytes(self.state_dict()))
        self.save_history(run)

    def save_history(self, run: RunDirectory) -> None:
        """Write the history, and the progress in run.json."""
        self._write_history(run)
        run.write_info(**self.progress())

    def write_pictures(self, run: RunDirectory) -> None:
        """Write the last grid and, for a conditional model, those by class."""
        images = self.generate(self._sample_z, self._sample_labels)
        run.write_bytes("samples/final.png", png(square_grid(images)))
        if not self.config["model"]["conditional"]:
            return
        classes = torch.arange(self.gan.num_classes)
        z = self._sample_z[:CLASS_COLUMNS]
        # A row a class with other latents each, then a row a latent with the classes side by side.
        per_class = self.generate(z.repeat(len(classes), 1), classes.repeat_interleave(len(z)))
        run.write_bytes("samples/per_class.png", png(grid(per_class, len(z))))
        fixed_z = self.generate(z.repeat_interleave(len(classes), 0), classes.repeat(len(z)))
        run.write_bytes("samples/fixed_z.png", png(grid(fixed_z, len(classes))))

    def diagnose(self, run: RunDirectory, final: Sequence[dict[str, Any]] = ()) -> None:
        """Say once what is newly found wrong and write it to run.json; `final` are scores after training."""
        new = self.diagnostics.update(self.history, [*self.scores, *final] if final else self.scores)
        for diagnosis in new:
            self._warn(diagnosis)
        if new:
            run.write_info(diagnosis=self.diagnostics.as_dicts())

    def _warn(self, diagnosis: Diagnosis) -> None:
        log.warning("step %d: %s; try %s", max(self.step, diagnosis.step), diagnosis, diagnosis.fix)

    def note_divergence(self, run: RunDirectory, step: int) -> None:
        """Count values that are no numbers since `step` among the failures, with the last finite row."""
        last = dict(zip(HISTORY_COLUMNS, self.history[-1], strict=True)) if self.history else {}
        known = DIVERGENCE.name in self.diagnostics.found
        found = self.diagnostics.diverged(step, {name: last[name] for name in ("d_loss", "g_loss") if last})
        if not known:
            self._warn(found)
        run.write_info(diagnosis=self.diagnostics.as_dicts())

    def progress(self) -> dict[str, Any]:
        """The fields of run.json that change while training."""
        return {
            "steps_done": self.step,
            "images_seen": self.images,
            "seconds": {name: round(value, 3) for name, value in self.clock.read().items()},
            "peak_memory_bytes": peak_memory(self.device),
            "execution": self.do_step.execution,
        }

    def write_samples(self, run: RunDirectory) -> None:
        """Write the grid of the fixed latents as ``samples/step_<n>.png``."""
        sheet = square_grid(self.generate(self._sample_z, self._sample_labels))
        run.write_bytes(f"samples/step_{self.step}.png", png(sheet))
        self.logger.image("generated", sheet, self.step)
        if self.step == 0:
            self.logger.image("real", square_grid(self.batches.images[: len(self._sample_z)]), self.step)

    def generate(self, z: Tensor, labels: Tensor) -> Tensor:
        """Images uint8 N×C×H×W on the host of latents N×Z and labels N, the same for the same weights."""
        seed = self.config["eval"]["seed"]
        return generate(self.gan.generator, z, labels, seed, len(z), self.device).images

    def state_dict(self) -> dict[str, Any]:
        """Everything the rest of the run depends on, as tensors and plain values."""
        cuda = [torch.cuda.get_rng_state(self.device)] if self.device.type == "cuda" else []
        mps = {"mps": torch.mps.get_rng_state()} if self.device.type == "mps" else {}
        return {
            "config_hash": self.config_hash,
            "step": self.step,
            "images": self.images,
            **{name: part.state_dict() for name, part in self.gan.parts().items()},
            "batches": self.batches.state_dict(),
            "random": {"cpu": torch.get_rng_state(), "cuda": cuda, **mps},
            "metrics": self._metrics.cpu(),
            "history": torch.tensor(self.history, dtype=torch.float64),
            "scores": self.scores,
            "seconds": self.clock.read(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            RunError: the checkpoint is whole, but of something else; take no step after that.
        """
        try:
            self._load(state)
        except torch.OutOfMemoryError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
            raise RunError(
                f"the checkpoint does not fit the run ({one_line(error)}); force=true trains it anew"
            ) from error

    def _load(self, state: dict[str, Any]) -> None:
        history = [_widened(row) for row in state["history"].tolist()]
        if not 0 <= int(state["step"]) <= self.total_steps:
            raise ValueError(f"step {state['step']} of {self.total_steps}")
        if any(len(row) != len(HISTORY_COLUMNS) for row in history):
            raise ValueError("its history has other columns")
        for name, part in self.gan.parts().items():
            if isinstance(part, torch.optim.Optimizer):
                load_optimizer(part, state[name], self.do_step.optimizers_compiled)
            else:
                part.load_state_dict(state[name])
        if self.do_step.captured:
            self.do_step.captured.forget()  # optimisers replace their state when they load one
        self.batches.load_state_dict(state["batches"])
        torch.set_rng_state(state["random"]["cpu"])
        if self.device.type == "cuda" and state["random"]["cuda"]:
            torch.cuda.set_rng_state(state["random"]["cuda"][0], self.device)
        if self.device.type == "mps" and "mps" in state["random"]:
            torch.mps.set_rng_state(state["random"]["mps"])
        self._metrics.copy_(state["metrics"])
        self.history = history
        self.scores = [{**record, "step": int(record["step"])} for record in state["scores"]]
        self.diagnostics = Diagnostics(self.config)
        self.diagnostics.update(self.history, self.scores)
        self.clock.seconds.update({name: float(state["seconds"][name]) for name in self.clock.seconds})
        self.step, self.images = int(state["step"]), int(state["images"])

    def advance(self) -> None:
        """Take one training step; its metrics stay on the device."""
        self._metrics[self.step % len(self._metrics)].copy_(self.do_step())
        self.step += 1
        self.images += self.do_step.images

    def _owes_score(self) -> bool:
        interval = self.config["eval"]["every"]
        if interval is None or self.step == 0:
            return False
        due = self.step % interval == 0 or self.step == self.total_steps
        return due and all(record["step"] != self.step for record in self.scores)

    def _log_interval(self, run: RunDirectory) -> None:
        """Fetch the interval's metrics from the device, once, and add their means to the history."""
        rows = self._require_finite().double()
        seconds = round(self.clock.read()["train"], 6)
        varied = diversity(self.generate(*self._probe), self._real_distance)
        self.history.append([self.step, self.images, seconds, *rows.mean(dim=0).tolist(), varied])
        named = dict(zip(HISTORY_COLUMNS[3:], self.history[-1][3:], strict=True))
        self.logger.scalars("train", named, self.step)
        values = ", ".join(f"{name}={value:.4g}" for name, value in self._shown().items())
        log.debug("step %d/%d: %s", self.step, self.total_steps, values)
        if time.monotonic() - self._history_written > HISTORY_SECONDS:
            self._write_history(run)
        self.diagnose(run)

    def _stop_reason(self) -> str | None:
        found = self.diagnostics.found
        named = [found[name] for name in self.config["train"]["stop_on"] or () if name in found]
        return f"stopped at step {self.step} by train.stop_on: {named[0]}" if named else None

    def _write_history(self, run: RunDirectory) -> None:
        run.write_history(self.history)
        self._history_written = time.monotonic()

    def _require_finite(self) -> Tensor:
        """Metrics of the steps since the last logged one, a row a step, on the host.

        Raises:
            DivergedError: one of them, or a weight, is no number.
        """
        count = (self.step - 1) % len(self._metrics) + 1 if self.step else 0
        rows = self._metrics[:count].cpu()
        weights = (*self.gan.generator.parameters(), *self.gan.discriminator.parameters())
        require_finite(rows, self.step, weights, self.history[-1] if self.history else None)
        return rows

    def _shown(self) -> dict[str, float]:
        return dict(zip(("d_loss", "g_loss"), self.history[-1][3:5], strict=True)) if self.history else {}


def _widened(row: list[float]) -> list[float]:
    """A row of the history with a NaN for the column that it lacks when it is from before `diversity`."""
    return [*row, math.nan] if len(row) == len(HISTORY_COLUMNS) - 1 else row


def sample_inputs(config: Config) -> tuple[Tensor, Tensor]:
    """The fixed latents and labels of the sample grids: those of ``eval.seed``, for a latent size.

    The first latents are the same however many labels are asked for: torch draws few values by another way.
    """
    chosen = config["train"]["sample_labels"] if config["model"]["conditional"] else None
    labels = torch.tensor(chosen) if chosen else torch.arange(SAMPLE_COUNT) % config["dataset"]["num_classes"]
    z = latents(max(len(labels), SAMPLE_COUNT), config["model"]["z_dim"], config["eval"]["seed"])
    return z[: len(labels)], labels
