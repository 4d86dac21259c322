"""What a configuration may say, and probably does not mean."""

from __future__ import annotations

import logging

import torch

from ganbench.config import Config
from ganbench.engine.gan import build_loss
from ganbench.hardware import native_precision
from ganbench.schema import RemedyConfig

log = logging.getLogger(__name__)


def warn_of(config: Config, device: torch.device) -> None:
    """Say what will be slow, and what has no effect."""
    if config["precision"] != "float32" and native_precision(config["device"]) == "float32":
        log.warning(
            "precision=%s: %s is not known to have it in hardware and may be many times slower; "
            "precision=auto takes what is there",
            config["precision"],
            device,
        )
    for key, other in _without_effect(config).items():
        log.warning("%s: has no effect, as %s", key, other)


def _without_effect(config: Config) -> dict[str, str]:
    """Keys that somebody set and that do nothing beside the others, each with the reason."""
    model, eval_, remedy = config["model"], config["eval"], config["remedy"]
    found = {}
    if config["train"]["sample_labels"] and not model["conditional"]:
        found["train.sample_labels"] = f"model={model['name']} is unconditional"
    if eval_["every"] is not None and not eval_["enabled"]:
        found[f"eval.every={eval_['every']}"] = "eval.enabled=false"
    if eval_["inception_weights"] is not None and eval_["extractor"] != "inception":
        found[f"eval.inception_weights={eval_['inception_weights']}"] = f"eval.extractor={eval_['extractor']}"
    if config["loss"]["same_batch"] and config["loss"]["n_critic"] == 1:
        found["loss.same_batch=true"] = "loss.n_critic=1"
    if remedy["unroll_lr"] != RemedyConfig().unroll_lr and not remedy["unroll"]:
        found[f"remedy.unroll_lr={remedy['unroll_lr']}"] = "remedy.unroll=0"
    if config["precision"] == "bfloat16_penalty" and not build_loss(config).has_penalty:
        found["precision=bfloat16_penalty"] = f"loss={config['loss']['name']} has no penalty: it is bfloat16"
    return found
