"""What this machine has, and how much of it a run has taken: devices, cores, memory, arithmetic."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

from ganbench.errors import ConfigError
from ganbench.memory import give_back_memory


def resolve_device(name: str) -> torch.device:
    """The device that ``device=`` asks for; never another one than asked for.

    Raises:
        ConfigError: an unknown name, or a device this machine lacks.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    asked = re.fullmatch(r"cpu|mps|cuda(?::(0|[1-9]\d*))?", name)
    if asked is None:
        raise ConfigError(f"device={name}: must be auto, cpu, cuda, cuda:N or mps")
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if int(asked[1] or 0) >= count:  # before torch.device, which takes 256 for 0
            raise ConfigError(
                f"device={name}: asked for, but this machine has {count} CUDA devices; "
                "use device=cpu or device=auto"
            )
    if name == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(f"device={name}: asked for, but absent; use device=cpu or device=auto")
    return torch.device(name)


def native_precision(name: str) -> str:
    """``bfloat16`` where the device called `name` multiplies it in hardware, else ``float32``.

    Raises:
        ConfigError: as `resolve_device`.
    """
    device = resolve_device(name)
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    return "bfloat16" if device.type == "cpu" and has_native_bfloat16() else "float32"


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware (AMX or avx512_bf16)."""
    return has_amx() or (_is_x86() and torch.cpu._is_avx512_bf16_supported())


def has_amx() -> bool:
    """Whether this processor has AMX, which multiplies tiles of bfloat16."""
    return _is_x86() and torch.cpu._is_amx_tile_supported()


def _is_x86() -> bool:
    return platform.machine() in ("x86_64", "AMD64")


def usable_cores() -> int:
    """Cores this process may run on, at most what ``OMP_NUM_THREADS`` says."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # further numbers are of nested regions
    return min(cores, int(wanted)) if wanted.isdecimal() and int(wanted) > 0 else cores


def physical_memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def forget_peak_memory(device: torch.device) -> None:
    """Begin `peak_memory` anew, without the runs before in this process; off Linux a CPU's goes on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    give_back_memory()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # see proc(5)


def peak_memory(device: torch.device) -> int:
    """Bytes: the device allocator's peak on CUDA, else the process's largest resident size."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        # Linux. What getrusage says there begins with the peak of the process that started this one.
        if found := re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE):
            return 1024 * int(found[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
