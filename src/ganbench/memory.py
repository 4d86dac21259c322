"""How this process takes its memory: a step's tensors are as large each time, so what is freed is kept.

Linux clears each page that it hands out, and glibc gives large blocks back at once to take them anew in the
next step; for maps of some megabytes that costs as much as the arithmetic on them.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h
NOT_GLIBC = (AttributeError, OSError, TypeError)


def keep_freed_memory() -> None:
    """Have glibc's allocator keep what this process frees; with any other allocator do nothing."""
    with suppress(*NOT_GLIBC):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)  # blocks of their own are given back when they are freed
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Give back what was kept: what comes next, another run, may need less."""
    with suppress(*NOT_GLIBC):
        ctypes.CDLL(None).malloc_trim(0)


def use_huge_pages() -> None:
    """Have torch ask Linux for pages of 2 MiB; it reads this once, with its first large tensor."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
