"""Settings of the memory allocator."""

import ctypes
import sys


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next training step.

    XLA's CPU backend allocates its buffers in every step. If they were returned to the system
    between steps, page faults would take about a third of a step's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**26)
        mallopt(arena_max, 1)  # other arenas are too small for these buffers
