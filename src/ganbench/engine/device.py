"""Where and in which arithmetic a run computes."""

from __future__ import annotations

import logging
import os
import platform
import re
from contextlib import AbstractContextManager
from functools import cache

import torch

from ganbench.errors import ConfigError, first_line

log = logging.getLogger(__name__)


def resolve_device(name: str) -> torch.device:
    """The device that ``device=`` asks for; never another one than asked for.

    Raises:
        ConfigError: an unknown name, or a device this machine lacks.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise ConfigError(f"device={name}: must be auto, cpu, cuda, cuda:N or mps")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise ConfigError(
                f"device={name}: asked for, but this machine has {count} CUDA devices; "
                "use device=cpu or device=auto"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device={name}: asked for, but absent; use device=cpu or device=auto")
    return device


def set_up(threads: int | None, deterministic: bool) -> None:
    """Set the process's thread count and kernel choice for one run."""
    torch.set_num_threads(threads or usable_cores())
    # cuBLAS and torch read it once, at the first matrix product of the process: a later run may need it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # Without this cuDNN may choose other kernels from run to run; with it, it costs the autotuner.
    torch.backends.cudnn.benchmark = not deterministic


def usable_cores() -> int:
    """Cores this process may run on, at most what ``OMP_NUM_THREADS`` says."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) > 0 else cores


def physical_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """The networks' arithmetic: bfloat16 where ``precision`` says so, parameters stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AMX or avx512_bf16)."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def native_precision(name: str) -> str:
    """``bfloat16`` where the device called `name` multiplies it in hardware, else ``float32``.

    Raises:
        ConfigError: as `resolve_device`.
    """
    device = resolve_device(name)
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    return "bfloat16" if device.type == "cpu" and has_native_bfloat16() else "float32"


def memory_format(device: torch.device, precision: str) -> torch.memory_format:
    """The layout in which convolutions are fastest: channels last, but for float32 on a CPU."""
    plain = device.type != "cuda" and precision == "float32"
    return torch.contiguous_format if plain else torch.channels_last


@cache
def compiler_works(device: torch.device) -> bool:
    """Whether `torch.compile` can build a kernel here; says once where it cannot."""
    try:
        torch.compile(torch.relu)(torch.zeros(2, device=device))
    except Exception as error:  # each backend fails in its own way without its compiler
        log.warning("compile=true: no working compiler (%s); eager it is", compiler_error(error))
        return False
    return True


def compiler_error(error: Exception) -> str:
    """What a compiler says, in a line: of torch's wrapping, the error within."""
    cause = getattr(error, "inner_exception", None) or error
    return f"{type(cause).__name__}: {first_line(cause)}"


def float32(device: torch.device) -> AbstractContextManager[None]:
    """Full precision inside an autocast region, for penalties."""
    return torch.autocast(device.type, enabled=False)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given: before every reading of a clock."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
