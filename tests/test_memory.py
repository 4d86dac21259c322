"""What is freed is kept, measured by the pages that the kernel had to hand out."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ganbench import memory
from ganbench.cli import main

MEASURE = """
import ctypes, resource, sys
import torch
from ganbench.engine.device import set_up
from ganbench.memory import give_back_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, on any machine
if sys.argv[1] != "given":
    set_up(1, deterministic=False)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    tensors = [torch.ones(9 << 20) for _ in range(2)]  # 36 MiB each, more than glibc ever keeps by itself
for _ in range(10):  # until the heap has room
    use()
before = faults()
for _ in range(5):
    if sys.argv[1] == "given back":
        give_back_memory()
    use()
print(faults() - before)
"""

PEAK = """
import torch
from ganbench.engine.device import set_up
from ganbench.hardware import forget_peak_memory, peak_memory
set_up(1, deterministic=False)
cpu = torch.device("cpu")
torch.ones(1 << 20)
forget_peak_memory(cpu)
small = peak_memory(cpu)
large = [torch.ones(16 << 20) for _ in range(16)]  # 1 GiB
assert peak_memory(cpu) - small > 0.9 * 2**30
del large
forget_peak_memory(cpu)
print(peak_memory(cpu) - small)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to keep memory")
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    """`set_up` has it kept, for each run."""
    others = ("GLIBC_TUNABLES", "LD_PRELOAD", "THP_MEM_ALLOC_ENABLE")
    environment = {k: v for k, v in os.environ.items() if k not in others and not k.startswith("MALLOC_")}
    given, kept, given_back = (
        int(subprocess.check_output([sys.executable, "-c", MEASURE, way], env=environment, timeout=120))
        for way in ("given", "kept", "given back")
    )
    pages = 5 * 2 * (36 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert given >= 0.9 * pages and given_back >= 0.9 * pages
    assert kept < 0.01 * pages


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_allocators_are_left_alone(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def absent(name: None) -> None:
        asked.append(name)
        raise error

    monkeypatch.setattr("ctypes.CDLL", absent)
    memory.keep_freed_memory()
    memory.give_back_memory()
    assert asked == [None, None]


@pytest.mark.parametrize("wish, used", [(None, "1"), ("0", "0")])
def test_commands_use_huge_pages_unless_told_otherwise(
    wish: str | None, used: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", wish or "")  # put back after the test either way
    if wish is None:
        monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    assert main(["list"]) == 0
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == used


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks begin anew on Linux alone")
def test_a_peak_is_a_runs_own() -> None:
    """Also after a larger run in its process, whose memory is kept, and in one that a larger one started."""
    large = torch.ones(300 << 20)  # 1.2 GiB
    more = int(subprocess.check_output([sys.executable, "-c", PEAK], timeout=120))
    assert abs(more) < 100 << 20
    del large
