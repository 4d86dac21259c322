"""What a run directory holds: its files by name, its schema, and the states a run can be in."""

from __future__ import annotations

SCHEMA = 1

RUNNING, COMPLETED, DIVERGED, FAILED, INTERRUPTED = STATUSES = (
    "running",
    "completed",
    "diverged",
    "failed",
    "interrupted",
)

CHECKPOINT = "checkpoints/last.pt"
PREVIOUS_CHECKPOINT = "checkpoints/previous.pt"
GENERATOR = {
    "last": "checkpoints/generator.safetensors",
    "best": "checkpoints/generator_best.safetensors",
    "ema": "checkpoints/generator_ema.safetensors",
}

HYDRAS = (".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml")
"""Hydra's record of a run: what was composed, Hydra's own settings, the overrides."""

OWN_FOLDERS = ("samples", "plots", "checkpoints", "tensorboard", ".hydra")

OWN_FILES = (
    "config.yaml",
    "run.json",
    "history.csv",
    "scores.json",
    "train.log",
    "samples/step_*.png",
    "samples/final.png",
    "samples/per_class.png",
    "samples/fixed_z.png",
    "samples/neighbours.png",
    "plots/loss_curves.png",
    "plots/scores.png",
    CHECKPOINT,
    PREVIOUS_CHECKPOINT,
    *GENERATOR.values(),
    "tensorboard/events.out.tfevents.*",
    *HYDRAS,
)
"""What `RunDirectory.clear` may delete; anything else in the folder belongs to somebody else."""
