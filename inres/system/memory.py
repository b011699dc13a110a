"""How the process keeps the memory that it has freed."""

import ctypes
import sys


def keep_freed_memory() -> None:
    """Let glibc keep the memory of a step for the next one.

    XLA's CPU backend takes its buffers anew in every step; given back to the system between
    steps, each page costs a fault again, about a third of a training step's time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, top_pad, mmap_max, arena_max = -1, -2, -4, -8  # malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 2**26)
        mallopt(arena_max, 1)  # other arenas are too small for such buffers
