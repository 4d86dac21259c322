"""A trained generator, rebuilt from its run directory without executing anything that lies there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ganbench.config import instantiate, is_own_model, require_trusted
from ganbench.engine.checkpoint import load_latest
from ganbench.engine.sampling import generate, latents
from ganbench.errors import ConfigError, RunError, one_line
from ganbench.models.weightless import without_weights
from ganbench.runs import (
    CHECKPOINT,
    COMPLETED,
    GENERATOR,
    PREVIOUS_CHECKPOINT,
    RunRecord,
    confined,
    holder,
    read_run,
)
from ganbench.schema import lookup

MOST = 1_000_000  # latents or classes that a run directory may claim
SAMPLED_AT_ONCE = 500


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator in eval mode with what is needed to use it; `step` is that of its weights.

    `network(z, labels)` takes latents N×Z and labels N to images N×C×H×W in [-1, 1]; `sample` does it all.
    """

    network: nn.Module
    z_dim: int
    conditional: bool
    num_classes: int
    step: int
    images: int
    train_seconds: float

    def sample(self, count: int = 64, seed: int = 0, labels: Tensor | None = None) -> Tensor:
        """Images uint8 count×C×H×W, of the classes `labels` (int64; by default in turn) where conditional.

        The same arguments give the same images; another count may give others, as its noise is drawn at once.

        Raises:
            ValueError: no count or seed, or labels that this generator cannot be asked for.
        """
        whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in (count, seed))
        if not whole or count < 1 or not 0 <= seed < 2**63:
            raise ValueError(
                f"count={count}, seed={seed}: must be integers, from 1 on and from 0 to 2**63 - 1"
            )
        if labels is not None:
            self._require_labels(count, labels)
        elif self.conditional:
            labels = torch.arange(count) % self.num_classes
        device = next(self.network.parameters()).device
        z = latents(int(count), self.z_dim, int(seed))
        return generate(self.network, z, labels, int(seed), SAMPLED_AT_ONCE, device).images

    def _require_labels(self, count: int, labels: Tensor) -> None:
        if not self.conditional:
            raise ValueError("labels: this generator knows no classes; leave them out")
        if not isinstance(labels, Tensor):
            raise ValueError(f"labels: must be a torch tensor, got {type(labels).__name__}")
        if labels.shape != (count,) or labels.dtype != torch.int64:
            found = f"{labels.dtype} of shape {tuple(labels.shape)}"
            raise ValueError(f"labels: must be int64 of shape (count,) = ({count},), got {found}")
        if not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise ValueError(f"labels: must lie in 0..{self.num_classes - 1}, got {labels.unique().tolist()}")


def load_generator(
    run: str | Path | RunRecord, weights: str = "last", trust: bool = False
) -> TrainedGenerator:
    """Rebuild the generator of a run, with its `last` weights, the `best` seen, or their average `ema`.

    A run that is not completed gives the generator of its latest whole checkpoint.

    Raises:
        RunError: no checkpoint; weights that do not fit config.yaml; or a config.yaml edited after training.
        ConfigError: the configuration names code outside ganbench, and `trust` is off.
    """
    record = run if isinstance(run, RunRecord) else read_run(run)
    if weights not in GENERATOR:
        raise RunError(f"weights={weights}: must be one of {', '.join(GENERATOR)}")
    model = _model(record)
    if not trust:
        _require_own_model(model["generator"])
    found = _exported(record, weights) or _from_checkpoint(record, weights)
    state = found.pop("state")
    try:
        # First without memory: sizes in a foreign config.yaml may be anything. Trusted code of somebody's own
        # may need values in its constructor, where there are none then.
        if is_own_model(model["generator"]):
            with without_weights():
                _require_shapes(instantiate(model["generator"]), state)
        network = instantiate(model["generator"])
        network.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, AttributeError, OverflowError, MemoryError) as error:
        raise RunError(
            f"{record.path}: its weights do not fit model.generator of its config.yaml ({one_line(error)}); "
            "one of them was changed"
        ) from error
    record.require_unchanged()  # equal shapes do not make it the network that was trained
    network.eval().requires_grad_(False)
    num_classes = int(record.config["dataset"]["num_classes"])
    return TrainedGenerator(network, model["z_dim"], model["conditional"], num_classes, **found)


def to_safetensors(network: nn.Module, step: int, images: int, config_hash: str) -> bytes:
    """A network's weights as safetensors bytes, with when they were taken and by which configuration.

    Nothing else that differs between equal trainings is in it: those of one configuration are equal files.
    """
    state = network.state_dict()
    # A copy of each: the format refuses weights that two layers share.
    tensors = {name: t.clone(memory_format=torch.contiguous_format) for name, t in state.items()}
    metadata = {"step": str(step), "images": str(images), "config_hash": config_hash}
    return _in_order(safetensors.torch.save(tensors, metadata))


def _in_order(data: bytes) -> bytes:
    """safetensors bytes with the metadata sorted: the library writes them in an order of chance.

    Format: eight bytes for the header's length, the header as JSON with spaces after it, the tensors.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


def exported_step(file: Path) -> int | None:
    """The step of weights that `to_safetensors` wrote; None where there are none that can be read."""
    try:
        with safetensors.safe_open(file, framework="pt") as content:
            return int((content.metadata() or {})["step"])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError):
        return None


def _model(record: RunRecord) -> dict[str, Any]:
    """The model group, its values of the right type.

    Raises:
        RunError: they are not.
    """
    where = record.path / "config.yaml"
    model, dataset = record.config.get("model"), record.config.get("dataset")
    if not isinstance(model, dict) or not isinstance(dataset, dict):
        raise RunError(f"{where}: damaged: lacks the groups model and dataset")
    whole = {"model.z_dim": model.get("z_dim"), "dataset.num_classes": dataset.get("num_classes")}
    for key, value in whole.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST:
            raise RunError(f"{where}: damaged: {key}={value!r} must be an integer from 1 to {MOST}")
    if not isinstance(model.get("conditional"), bool):
        raise RunError(f"{where}: damaged: model.conditional={model.get('conditional')!r} must be a boolean")
    generator = model.get("generator")
    if not isinstance(generator, dict) or not isinstance(generator.get("_target_"), str):
        raise RunError(f"{where}: damaged: model.generator must name a _target_")
    return model


def _require_own_model(node: dict[str, Any]) -> None:
    """Refuse code outside ganbench, and code of ganbench that is no model: a dataset may download."""
    require_trusted(node)
    if not is_own_model(node):
        raise ConfigError(f"_target_={node['_target_']!r}: model.generator must name one of ganbench.models")


def _require_shapes(network: Any, state: dict[str, Tensor]) -> None:
    """Hold the shapes of a network that has no weights against those of its weights.

    Raises:
        RuntimeError: they differ.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if wanted != found:
        differing = sorted(set(wanted.items()) ^ set(found.items()))
        raise RuntimeError(f"shapes differ, first at {differing[0][0]}")


def _exported(record: RunRecord, weights: str) -> dict[str, Any] | None:
    """What `to_safetensors` wrote, None where there is no such file."""
    path = confined(record.path, GENERATOR[weights])
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _require_its_own(record, path, metadata.get("config_hash"))
        return {
            "state": state,
            "step": int(metadata["step"]),
            "images": int(metadata["images"]),
            "train_seconds": _seconds_at(record, int(metadata["step"])),
        }
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(
            f"{path}: damaged: {error}; delete it, and the last checkpoint is used in its place"
            if weights == "last"
            else f"{path}: damaged: {error}; use other weights, or train the run anew with force=true"
        ) from error


def _require_its_own(record: RunRecord, file: Path, config_hash: str | None) -> None:
    """Refuse weights that another run left; those of earlier versions do not say whose they are.

    Raises:
        RunError: they are.
    """
    own = record.info.get("config_hash")
    if None not in (own, config_hash) and own != config_hash:
        raise RunError(
            f"{file}: holds weights of another run (config_hash {str(config_hash)[:8]}, this run's "
            f"{str(own)[:8]}): put its own back, or delete it"
        )


def _seconds_at(record: RunRecord, step: int) -> float:
    """Seconds of training up to `step`, from the score taken there, else from the history."""
    for score in record.scores:
        if score.get("step") == step and isinstance(score.get("train_seconds"), (int, float)):
            return float(score["train_seconds"])
    return max((row["train_seconds"] for row in record.history if row["step"] <= step), default=0.0)


def _way_to_one(record: RunRecord) -> str:
    """How a run without a checkpoint comes to one."""
    if process := holder(record.path):
        steps = lookup(record.config, "train.checkpoint_every")
        return f"it is in the hands of {process}: wait for its first one (train.checkpoint_every={steps})"
    return "run its training command again" + " with force=true" * (record.status == COMPLETED)


def _from_checkpoint(record: RunRecord, weights: str) -> dict[str, Any]:
    if weights == "best":
        raise RunError(
            f"{record.path}: has no best weights; they are kept where eval.every was set; use the last"
        )
    state = load_latest(record.path, str(record.info.get("config_hash")))
    if state is None:
        found = f"(looked for {GENERATOR['last']}, {CHECKPOINT} and {PREVIOUS_CHECKPOINT})"
        raise RunError(f"{record.path}: has no usable checkpoint {found}; {_way_to_one(record)}")
    part = "ema" if weights == "ema" else "generator"
    if part == "ema" and part not in state:
        raise RunError(
            f"{record.path}: has no average of its weights; one is kept where remedy.ema_decay was set "
            "(use the last)"
        )
    try:
        return {
            "state": state[part],
            "step": int(state["step"]),
            "images": int(state["images"]),
            "train_seconds": float(state["seconds"]["train"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{record.path / CHECKPOINT}: damaged: lacks {error}") from error
