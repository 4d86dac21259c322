"""Where and in which arithmetic a run computes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache

import torch

from ganbench.errors import told
from ganbench.hardware import usable_cores
from ganbench.memory import keep_freed_memory

log = logging.getLogger(__name__)


def set_up(threads: int | None, deterministic: bool) -> None:
    """Set the process's thread count and kernel choice for one run, and for good how it keeps its memory."""
    torch.set_num_threads(threads or usable_cores())
    keep_freed_memory()
    # torch's compiler takes all cores otherwise, also beside other runs.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", str(torch.get_num_threads()))
    # cuBLAS and torch read it once, at the first matrix product of the process: a later run may need it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # Asked first: the call imports torch's compiler, which takes seconds.
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    if (torch.are_deterministic_algorithms_enabled(), warns) != (deterministic, False):
        torch.use_deterministic_algorithms(deterministic)
    # Without this cuDNN may choose other kernels from run to run; with it, it costs the autotuner.
    torch.backends.cudnn.benchmark = not deterministic


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The networks' arithmetic: bfloat16 where ``precision`` says so, parameters stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision != "float32")


@cache
def compiler_works(device: torch.device) -> bool:
    """Whether `torch.compile` can build a kernel here; says once where it cannot."""
    try:
        torch.compile(torch.relu)(torch.zeros(2, device=device))
    except Exception as error:  # each backend fails in its own way without its compiler
        log.warning("compile=true: no working compiler (%s); eager it is", compiler_error(error))
        return False
    return True


@contextmanager
def no_advice() -> Iterator[None]:
    """A block in which torch's compiler does not advise TF32: `matmul_precision` settles that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")
        yield


def compiler_error(error: Exception) -> str:
    """What a compiler says, in a line: of torch's wrapping, the error within."""
    cause = getattr(error, "inner_exception", None) or error
    return told(cause)


def penalty_autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The critic's arithmetic in a penalty: bfloat16 with ``precision=bfloat16_penalty`` alone."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16_penalty")


def float32(device: torch.device) -> AbstractContextManager[None]:
    """Full precision inside an autocast region."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def matmul_precision(device: torch.device, precision: str) -> Iterator[None]:
    """Matrix products of float32 tensors: on CUDA in TF32 where the networks compute in bfloat16 anyway.

    Those are the penalties'; convolutions are in TF32 by torch's default.
    """
    if device.type != "cuda" or precision == "float32":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given: before every reading of a clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
