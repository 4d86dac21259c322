"""A trained generator, rebuilt from its run directory without executing anything that lies there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from ganbench.config import instantiate, require_trusted
from ganbench.engine.checkpoint import load_latest
from ganbench.errors import RunError
from ganbench.runs import CHECKPOINT, GENERATOR, PREVIOUS_CHECKPOINT, RunRecord, confined, read_run

WEIGHTS = ("last", "best")


@dataclass(frozen=True)
class TrainedGenerator:
    """A generator in eval mode with what is needed to use it; `step` is that of its weights."""

    network: nn.Module
    z_dim: int
    conditional: bool
    num_classes: int
    step: int
    images: int
    train_seconds: float


def load_generator(
    run: str | Path | RunRecord, weights: str = "last", trust: bool = False
) -> TrainedGenerator:
    """Rebuild the generator of a run, with its `last` weights or the `best` ones seen while training.

    A run that is not completed gives the generator of its latest whole checkpoint.

    Raises:
        RunError: no checkpoint, or weights that do not fit the run's configuration.
        ConfigError: the configuration names code outside ganbench, and `trust` is off.
    """
    record = run if isinstance(run, RunRecord) else read_run(run)
    if weights not in WEIGHTS:
        raise RunError(f"weights={weights}: must be one of {', '.join(WEIGHTS)}")
    model = _model(record)
    if not trust:
        require_trusted(model["generator"])
    found = _exported(record, weights) or _from_checkpoint(record, weights)
    network = instantiate(model["generator"])
    try:
        network.load_state_dict(found.pop("state"))
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RunError(
            f"{record.path}: its weights do not fit model.generator of its config.yaml ({reason}); "
            "one of them was changed"
        ) from error
    network.eval().requires_grad_(False)
    num_classes = int(record.config["dataset"]["num_classes"])
    return TrainedGenerator(network, int(model["z_dim"]), bool(model["conditional"]), num_classes, **found)


def pack(network: nn.Module, step: int, images: int, train_seconds: float) -> bytes:
    """A network's weights as safetensors bytes, with when they were taken as metadata."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    metadata = {"step": str(step), "images": str(images), "train_seconds": repr(train_seconds)}
    return safetensors.torch.save(tensors, metadata)


def _model(record: RunRecord) -> dict[str, Any]:
    try:
        model = record.config["model"]
        for key in ("generator", "z_dim", "conditional"):
            model[key]
        record.config["dataset"]["num_classes"]
        model["generator"]["_target_"]
    except (KeyError, TypeError) as error:
        raise RunError(f"{record.path / 'config.yaml'}: damaged: lacks {error}") from error
    return model


def _exported(record: RunRecord, weights: str) -> dict[str, Any] | None:
    """What `pack` wrote, None where there is no such file."""
    path = confined(record.path, GENERATOR[weights])
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            state: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {
            "state": state,
            "step": int(metadata["step"]),
            "images": int(metadata["images"]),
            "train_seconds": float(metadata["train_seconds"]),
        }
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(f"{path}: damaged: {type(error).__name__}: {error}") from error


def _from_checkpoint(record: RunRecord, weights: str) -> dict[str, Any]:
    if weights == "best":
        raise RunError(
            f"{record.path}: has no best weights; they are kept where eval.every was set (use weights last)"
        )
    state = load_latest(record.path, str(record.info.get("config_hash")))
    if state is None:
        raise RunError(
            f"{record.path}: has no usable checkpoint (looked for {GENERATOR['last']}, {CHECKPOINT} and "
            f"{PREVIOUS_CHECKPOINT}); run its training command again to make one"
        )
    try:
        return {
            "state": state["generator"],
            "step": int(state["step"]),
            "images": int(state["images"]),
            "train_seconds": float(state["seconds"]["train"]),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{record.path / CHECKPOINT}: damaged: lacks {error}") from error
