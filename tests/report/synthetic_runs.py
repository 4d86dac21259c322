"""Run directories without training: what `ganbench train` would leave, with numbers one chooses."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ganbench.config import group_names, load_group
from ganbench.identity import identity

JUDGES = {"judge": "a" * 64, "judge_b": "b" * 64, "inception": "c" * 64}

FID = {"bce": 12.0, "lsgan": 14.0, "hinge": 10.0, "wgan_clip": 40.0, "wgan_gp": 9.0, "sn_hinge": 11.0}
OTHER_LOSS = {"_target_": "mine.Loss", "optimizer": {"_target_": "torch.optim.Adam", "lr": 2e-4}}


def config(model: str, loss: str, seed: int, dataset: str = "mnist", **changes: Any) -> dict[str, Any]:
    """A resolved configuration; `changes` are dotted keys with ``__`` for the dot."""
    its_own = load_group("loss", loss) if loss in group_names("loss") else OTHER_LOSS
    rate = its_own["optimizer"]["lr"]
    whole: dict[str, Any] = {
        "seed": seed, "device": "auto", "precision": "float32", "compile": False, "deterministic": False,
        "threads": None, "force": False, "output_root": "outputs",
        "dataset": {
            "name": dataset, "channels": 1, "image_size": 28, "num_classes": 10, "num_train": 60_000,
            "root": None,
            "source": {
                "_target_": "ganbench.data.torchvision_dataset", "class_name": dataset.upper(),
                "files": {f"{part}-ubyte": "0" * 64 for part in ("train-x", "train-y", "t10k-x", "t10k-y")},
            },
            "eval": {"num_samples": 10_000, "kid_subset_size": 1000, "per_class": 1000},
        },
        "model": {
            "name": model, "conditional": model == "cgan", "z_dim": 100,
            "generator": {"_target_": f"ganbench.models.{model}.Generator", "z_dim": 100, "channels": 1},
            "discriminator": {"_target_": f"ganbench.models.{model}.Discriminator", "norm": "none"},
            "critics": {
                norm: {"features": [64, 128], "dropout": 0.25}
                for norm in ("spectral", "layer", "batch", "none")
            },
        },
        "loss": {
            "n_critic": 1, "critic_norm": "auto", "same_batch": False, "d_lr": rate, "g_lr": rate,
            **copy.deepcopy(its_own), "name": loss,
        },
        "train": {
            "steps": 2000, "epochs": None, "images": None, "batch_size": 128, "drop_last": True,
            "log_every": 50, "sample_every": 500, "checkpoint_every": 1000,
        },
        "eval": {
            "enabled": True, "every": 500, "training_num_samples": 2000, "extractor": "judge",
            "inception_weights": None, "reference_split": "test", "num_samples": 10_000, "per_class": 1000,
            "seed": 20240501, "batch_size": 500, "kid_subsets": 100, "kid_subset_size": 1000, "is_splits": 10,
            "pr_k": 3, "dc_k": 5,
        },
    }  # fmt: skip
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        node = whole
        for parent in parents:
            node = node[parent]
        node[last] = value
    return whole


def protocol(extractor: str = "judge", dataset: str = "mnist", split: str = "test", **changes: Any) -> dict:
    """A protocol as a score record carries it."""
    count = 10_000 if split == "test" else 60_000
    return {
        "version": 1,
        "extractor": extractor,
        "extractor_sha256": JUDGES[extractor],
        "reference": {"dataset": dataset, "split": split, "count": count, "sha256": f"{dataset}{split}"},
        "num_generated": 10_000, "seed": 20240501, "quantisation": "round((x+1)*127.5) to uint8",
        "kid_subsets": 100, "kid_subset_size": 1000, "is_splits": 10, "pr_k": 3, "dc_k": 5, "per_class": 1000,
        **changes,
    }  # fmt: skip


def record(
    fid: float, when: str = "final", weights: str = "last", step: int = 2000, images: int = 256_000,
    train_seconds: float = 100.0, conditional: bool = False, **rest: Any,
) -> dict[str, Any]:  # fmt: skip
    """A score record whose other metrics follow from `fid`; `rest` goes to the protocol."""
    quality = math.exp(-fid / 60) if math.isfinite(fid) else 0.5
    values = {
        "fid": fid, "kid_mean": fid / 2000, "kid_std": fid / 9000, "is_mean": 9.5 * quality, "is_std": 0.1,
        "precision": quality, "recall": quality * 0.8, "density": quality * 1.1, "coverage": quality * 0.9,
        "class_kl": fid / 500, "pixel_std": 0.2 + quality / 10, "feature_distance": 6 * quality,
        "train_closer": 0.52,
    }  # fmt: skip
    classes: dict[str, Any] = {"histogram": [0.1] * 10}
    shape = 1 - 0.02 * np.arange(10)
    classes["feature_distance"] = (6 * quality * shape).tolist()
    classes["pixel_std"] = (0.25 * quality * shape).tolist()
    if conditional:
        values["class_consistency"] = quality
        classes["consistency"] = (quality * shape).tolist()
    return {
        "schema": 1, "when": when, "weights": weights, "step": step, "images": images,
        "train_seconds": train_seconds, "protocol": protocol(**rest), "values": values, "per_class": classes,
        "absent": {}, "batch_size": 500, "seconds": {"sampling": 1.0, "features": 2.0, "metrics": 3.0},
        "versions": {"torch": "2"}, "created_at": "2025-01-01T00:00:00+00:00",
    }  # fmt: skip


def info(settings: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A run.json of a completed run."""
    steps = settings["train"]["steps"]
    images = steps * settings["train"]["batch_size"] * settings["loss"]["n_critic"]
    return {
        "schema": 1, "status": "completed", "reason": None, "config_hash": identity(settings),
        "seed": settings["seed"],
        "name": {group: settings[group]["name"] for group in ("dataset", "model", "loss")},
        "dataset_sha256": "d" * 64, "device": "cpu", "precision": "float32", "versions": {"torch": "2"},
        "git": None, "host": "here", "started_at": "2025-01-01T00:00:00+00:00",
        "finished_at": "2025-01-01T00:05:00+00:00", "steps_done": steps, "steps_total": steps,
        "images_seen": images, "seconds": {"train": 20 + images / 10_000, "eval": 5.0, "other": 1.0},
        "peak_memory_bytes": 10**8, "parameters": {"generator": 1000, "discriminator": 1000},
        **changes,
    }  # fmt: skip


def write(folder: Path, settings: dict, run_info: dict, scores: list[dict] | None = None) -> Path:
    """Write a run directory."""
    folder.mkdir(parents=True, exist_ok=True)
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(settings, Dumper=dumper, allow_unicode=True)
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    (folder / "run.json").write_text(json.dumps(run_info), encoding="utf-8")
    if scores is not None:
        (folder / "scores.json").write_text(json.dumps(scores), encoding="utf-8")
    return folder


def place(root: Path, settings: dict[str, Any]) -> Path:
    """Where a run with these settings lies."""
    names = [settings[group]["name"] for group in ("dataset", "model", "loss")]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return root.joinpath(*names, f"s{settings['seed']}-{digest}")


def completed(
    root: Path, model: str = "mlp", loss: str = "bce", seed: int = 0, fid: float | None = None,
    training: bool = True, extractors: tuple[str, ...] = ("judge",), dataset: str = "mnist", **changes: Any,
) -> Path:  # fmt: skip
    """A completed run: final scores of last and best weights, and five scores during training."""
    settings = config(model, loss, seed, dataset, **changes)
    run_info = info(settings)
    if fid is None:
        fid = FID.get(loss, 20.0) * (0.6 if model == "cgan" else 1.0)
        fid *= 1 + 0.03 * math.sin(7 * seed + len(loss))
    steps, images, seconds = run_info["steps_total"], run_info["images_seen"], run_info["seconds"]["train"]
    common = {"conditional": model == "cgan", "dataset": dataset}
    scores = []
    for part in (0.2, 0.4, 0.6, 0.8, 1.0) if training else ():
        then = (int(part * steps), int(part * images), part * seconds)
        value = fid * (1 + 3 * (1 - part) ** 2)
        scores.append(record(value, "training", "last", *then, split="train", num_generated=2000, **common))
    for extractor in extractors:
        for weights, factor in (("last", 1.0), ("best", 0.97)):
            scores.append(
                record(fid * factor, "final", weights, steps, images, seconds, extractor=extractor, **common)
            )
    return write(place(root, settings), settings, run_info, scores)


def failed(
    root: Path, status: str, reason: str, model: str = "mlp", loss: str = "bce", seed: int = 9, **changes: Any
) -> Path:
    """A run that did not complete and has no scores."""
    settings = config(model, loss, seed, **changes)
    run_info = info(settings, status=status, reason=reason, steps_done=120, finished_at=None)
    return write(place(root, settings), settings, run_info)


def history(folder: Path, rows: int = 200, seed: int = 0, scale: float = 1.0) -> None:
    """Add a history.csv of plausible, noisy losses."""
    from ganbench.runs import HISTORY_COLUMNS

    rng = np.random.default_rng(seed)
    step = np.arange(1, rows + 1) * 10
    fall = np.exp(-step / step[-1] * 3)
    columns = [step, step * 128, step / 20, scale * (0.5 + fall + 0.2 * rng.standard_normal(rows))]
    columns += [scale * (1.5 - fall + 0.3 * rng.standard_normal(rows))]
    columns += [np.zeros(rows)] * (len(HISTORY_COLUMNS) - len(columns))
    lines = [",".join(HISTORY_COLUMNS)]
    lines += [",".join(str(float(value)) for value in row) for row in zip(*columns, strict=True)]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")


def samples(folder: Path, seed: int = 0) -> None:
    """Add samples/final.png and samples/fixed_z.png of 8×8 grey tiles."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    grid = np.kron(rng.integers(0, 255, (8, 8)), np.ones((30, 30)))
    (folder / "samples").mkdir(exist_ok=True)
    for name in ("final.png", "fixed_z.png"):
        Image.fromarray(grid.astype(np.uint8)).save(folder / "samples" / name)
