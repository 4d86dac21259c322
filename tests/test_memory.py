"""What is freed is kept, measured by the pages that the kernel had to hand out."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from ganbench import memory

MEASURE = """
import resource, sys
import torch
from ganbench.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    tensors = [torch.ones(9 << 20) for _ in range(2)]  # 36 MiB each, more than glibc ever keeps by itself
for _ in range(10):  # until the heap has room
    use()
before = faults()
for _ in range(5):
    use()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to keep memory")
def test_freed_memory_is_kept() -> None:
    environment = {**os.environ, "THP_MEM_ALLOC_ENABLE": "0"}
    given, kept = (
        int(subprocess.check_output([sys.executable, "-c", MEASURE, way], env=environment, timeout=120))
        for way in ("given", "kept")
    )
    pages = 5 * 2 * (36 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert given >= 0.9 * pages
    assert kept < 0.01 * pages


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_allocators_are_left_alone(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: None) -> None:
        raise error

    monkeypatch.setattr("ctypes.CDLL", absent)
    memory.keep_freed_memory()


def test_a_wish_against_huge_pages_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    memory.use_huge_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "1"
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    memory.use_huge_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"
