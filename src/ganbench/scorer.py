"""When a run is scored: cheaply on the way, in full at its end; and which weights count as best."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ganbench.config import Config
from ganbench.data import Dataset
from ganbench.engine.images import grid, png
from ganbench.engine.loop import Training
from ganbench.engine.sampling import generate, latents
from ganbench.errors import RunError
from ganbench.generator import TrainedGenerator, exported_step, load_generator, to_safetensors
from ganbench.metrics.evaluation import Evaluator, Origin, fid_of
from ganbench.metrics.memorisation import closest_pairs
from ganbench.metrics.protocol import EvalSettings
from ganbench.runs import GENERATOR, NewerSchemaError, RunDirectory, read_scores

NEIGHBOUR_PAIRS = 16
NEIGHBOUR_SAMPLES = 1000

log = logging.getLogger(__name__)


class RunScorer:
    """Scores one run in training by the protocol its configuration gives."""

    def __init__(self, config: Config, dataset: Dataset, device: torch.device) -> None:
        """Load the extractor.

        Raises:
            UserError: it cannot be had.
        """
        self.z_dim = config["model"]["z_dim"]
        self.conditional = config["model"]["conditional"]
        self.evaluator = Evaluator(dataset, EvalSettings.from_config(config["eval"]), device)

    def on_the_way(self, training: Training, run: RunDirectory) -> None:
        """Score the present weights cheaply against the train split, and keep them if they are the best.

        The best are kept with a checkpoint: a run that went on from an earlier one would have lost the best
        weights until then, and might find none as good.
        """
        with training.clock("eval"):
            record = self._score(training, "training")
            training.scores.append(record)
        _show(record, training)
        self._write(training, run, [])
        log.info("step %d: %s", training.step, summary(record))
        training.diagnose(run)
        if best_score(training.scores) is record:
            training.save(run)
            run.write_bytes(GENERATOR["best"], exported(training))

    def at_the_end(self, training: Training, run: RunDirectory) -> None:
        """Score last and, where scores were taken on the way, best weights in full."""
        with training.clock("eval"):
            records = [self._score(training, "final")]
            if training.gan.ema is not None:
                records.append(self._score(training, "final", "ema"))
            best = best_score(training.scores)
            if best is not None and exported_step(run.path / GENERATOR["best"]) == best["step"]:
                # Made by this very process's configuration: nothing foreign is imported.
                kept = load_generator(run.path, "best", trust=True)
                records.append(score_trained(self.evaluator, kept, "final", "best", records[0]))
            run.write_bytes("samples/neighbours.png", self._neighbours(training))
        self._write(training, run, records)
        for record in records:
            _show(record, training)
            log.info("%s weights, step %d: %s", record["weights"], record["step"], summary(record))

    def _score(self, training: Training, when: str, weights: str = "last") -> dict[str, Any]:
        seconds = training.clock.read()["train"]
        origin = Origin(when, weights, training.step, training.images, seconds)
        network = training.gan.parts()["ema" if weights == "ema" else "generator"]
        return self.evaluator.score(network, self.z_dim, self.conditional, origin)

    def _write(self, training: Training, run: RunDirectory, final: list[dict[str, Any]]) -> None:
        # Those of `ganbench evaluate` stay, also where an unfinished run goes on from there.
        later = [record for record in read_scores(run.path) if record.get("when") == "evaluate"]
        run.write_scores([*training.scores, *final, *later])

    def _neighbours(self, training: Training) -> bytes:
        """PNG of the generated images nearest to training images, each above its neighbour."""
        evaluator, settings = self.evaluator, self.evaluator.settings
        train = evaluator.dataset.train
        labels: Tensor | None = None
        if self.conditional:
            labels = torch.arange(NEIGHBOUR_SAMPLES) % evaluator.dataset.num_classes
        z = latents(NEIGHBOUR_SAMPLES, self.z_dim, settings.seed)
        samples = generate(
            training.gan.generator, z, labels, settings.seed, settings.batch_size, training.device
        )
        features = evaluator.extractor(samples.images, settings.batch_size).features
        ours, theirs = closest_pairs(features, evaluator.train.features, NEIGHBOUR_PAIRS)
        half = NEIGHBOUR_PAIRS // 2
        rows = [
            images[chosen[start : start + half]]
            for start in (0, half)
            for images, chosen in ((samples.images, ours), (train.images, theirs))
        ]
        return png(grid(torch.cat(rows), columns=half))


def score_trained(
    evaluator: Evaluator,
    trained: TrainedGenerator,
    when: str,
    weights: str,
    last: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The score record of a generator read from its run: that of the `last` weights where it has the same."""
    if last is not None and last["step"] == trained.step:
        return {**last, "weights": weights}
    origin = Origin(when, weights, trained.step, trained.images, trained.train_seconds)
    network = trained.network.to(evaluator.device)
    return evaluator.score(network, trained.z_dim, trained.conditional, origin)


def best_score(scores: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The first of the lowest FID, of those by the newest score's protocol; None where there is none.

    A run that goes on may be given another extractor's weights.
    """
    alike = [record for record in scores if record["protocol"] == scores[-1]["protocol"]]
    return min((record for record in alike if math.isfinite(fid_of(record))), key=fid_of, default=None)


def drop_stale(training: Training, run: RunDirectory) -> None:
    """Drop best weights that are not of the best score so far: steps that are now taken again left them.

    Where a repeated step gives other bits, they would be of a training that is not this run's. The present
    weights are the best where the run was killed between their checkpoint and their file. Scores that cannot
    be read any more are written anew: the checkpoint has all but those of `ganbench evaluate`.
    """
    try:
        read_scores(run.path)
    except NewerSchemaError:
        raise
    except RunError as error:
        log.warning("%s; written anew, without what `ganbench evaluate` may have added", error)
        run.write_scores(training.scores)
    file = run.path / GENERATOR["best"]
    best = best_score(training.scores)
    if best is None:
        file.unlink(missing_ok=True)
    elif best["step"] == training.step:
        run.write_bytes(GENERATOR["best"], exported(training))
    elif exported_step(file) != best["step"]:
        file.unlink(missing_ok=True)
        log.warning("%s: its best weights so far, of step %s, are lost", run.path, best["step"])


def _show(record: dict[str, Any], training: Training) -> None:
    training.logger.scalars(f"scores/{record['when']}/{record['weights']}", record["values"], record["step"])


def exported(training: Training, part: str = "generator") -> bytes:
    """The present weights of the generator, or of its average ``ema``, as a file."""
    network = training.gan.parts()[part]
    return to_safetensors(network, training.step, training.images, training.config_hash)


def summary(record: dict[str, Any]) -> str:
    """The headline of a score record in words."""
    protocol, values = record["protocol"], record["values"]
    shown = [
        f"{name} {values[name]:.4g}" for name in ("fid", "is_mean", "class_consistency") if name in values
    ]
    missing = [f"no {name} ({reason})" for name, reason in record["absent"].items()]
    reference = protocol["reference"]
    return (
        f"{', '.join([*shown, *missing])} [{protocol['extractor']}, {protocol['num_generated']} images "
        f"against {reference['dataset']} {reference['split']}]"
    )
