"""Memory: how much is left, and settings of the allocator."""

import contextlib
import contextvars
import ctypes
import resource
import sys
from collections.abc import Iterator
from pathlib import Path


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


_most: contextvars.ContextVar[int | None] = contextvars.ContextVar("most", default=None)


@contextlib.contextmanager
def at_most(count: int) -> Iterator[None]:
    """Within this context, `available_bytes` is at most `count`: for files from strangers."""
    token = _most.set(count)
    try:
        yield
    finally:
        _most.reset(token)


def available_bytes() -> int | None:
    """Memory that this process can still use, or None where the system does not say.

    The least of what is free on the machine (Linux), left in the control group (version 2), left
    below the limit of the address space, and `at_most`.
    """
    found = [_free_on_machine(), _left_in_group(), _left_of_address_space(), _most.get()]
    known = [value for value in found if value is not None]
    return max(0, min(known)) if known else None


def lacking(need: int) -> str:
    """Why `need` bytes do not fit in memory; empty if they do, or if that is not known."""
    free = available_bytes()
    if free is None or need <= free:
        return ""
    return f"{need / 1e9:.3g} GB of memory are needed, {free / 1e9:.3g} are available"


def _free_on_machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "MemAvailable":
                return int(value.split()[0]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _left_in_group() -> int | None:
    try:
        group = Path("/proc/self/cgroup").read_text().strip().rpartition(":")[2]
        folder = Path("/sys/fs/cgroup") / group.lstrip("/")
        limit = (folder / "memory.max").read_text().strip()
        return int(limit) - int((folder / "memory.current").read_text())
    except (OSError, ValueError):  # no limit ("max"), or another system
        return None


def _left_of_address_space() -> int | None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return limit
    return limit - pages * resource.getpagesize()
