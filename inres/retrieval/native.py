"""The interface to the compiled CPU kernel (`kernel.cc`).

The kernel gives the results of the jitted programs up to the rounding of a distance's float32 sum,
and the same bits on every processor and with any number of threads.

Calling a jitted program takes tens of microseconds, as long as the kernel needs to search a hundred
thousand codes, and following the few candidates of a query is cheaper than computing with static
shapes. The kernel uses the arrays of an Index on a CPU without a copy. It is built when the package
is installed. If it was not built, because there is no compiler, the jitted programs are used and
one warning is given.
"""

import ctypes
import functools
import importlib.util
import os
import warnings
from typing import Any, NamedTuple

import numpy as np

ABI = 1
"""Version of the kernel's C interface; a kernel with another version is not used."""
BEST = 9
"""A level above all instruction sets: no limit."""
_ITEMS = (
    "codes", "features", "ids", "groups", "labels", "sketch", "centre", "scale", "norm", "slack",
    "codes_by_id", "groups_by_id", "labels_by_id", "ids_by_id", "place",
)  # fmt: skip
_QUERIES = ("codes", "features", "threshold", "exclude_group", "only_label")


class _Items(ctypes.Structure):
    """Mirrors the struct Items in kernel.cc."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _ITEMS),
        *((name, ctypes.c_int64) for name in ("tiles", "count", "words", "dims")),
    )


class _Queries(ctypes.Structure):
    """Mirrors the struct Queries in kernel.cc, where the last two arrays are `own` and `only`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _QUERIES),
        *((name, ctypes.c_int64) for name in ("count", "k")),
    )


class Items(NamedTuple):
    """The arrays of an Index as passed to the kernel."""

    struct: Any
    arrays: tuple[np.ndarray | None, ...]
    """The arrays that `struct` points to, kept alive with it."""


class Queries(NamedTuple):
    """Queries as C-contiguous NumPy arrays."""

    codes: np.ndarray
    """uint32 [Q, W]."""
    features: np.ndarray | None = None
    """float32 [Q, D]; None for a search by Hamming distance alone."""
    threshold: Any = None
    """int32 [Q]; None for a search by Hamming distance alone."""
    exclude_group: np.ndarray | None = None
    """int32 [Q], group whose items are excluded; -1 or None: none."""
    only_label: np.ndarray | None = None
    """int32 [Q], the only label to search; -1 or None: all."""


@functools.cache
def kernel() -> Any:
    """The loaded kernel; None, with one warning, if there is no compatible one."""
    spec = importlib.util.find_spec("inres.retrieval._kernel")
    remedy = "reinstall the package with a C++ compiler; using the jitted programs instead"
    if spec is None or spec.origin is None:
        warnings.warn(f"the CPU kernel of the search was not built: {remedy}", stacklevel=3)
        return None
    try:
        loaded = ctypes.CDLL(spec.origin)
        abi = loaded.inres_abi()
    except (OSError, AttributeError) as error:
        warnings.warn(f"{spec.origin}: not a usable kernel ({error}): {remedy}", stacklevel=3)
        return None
    if abi != ABI:
        warnings.warn(
            f"{spec.origin}: kernel has interface {abi}, expected {ABI}: {remedy}", stacklevel=3
        )
        return None
    head: list[Any] = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    address, number = ctypes.c_void_p, ctypes.c_int64
    loaded.inres_search.argtypes = [*head, *(4 * [address])]
    loaded.inres_nearest.argtypes = [*head, *(3 * [address])]
    loaded.inres_rank.argtypes = [*head, address, number, *(3 * [address])]
    return loaded


def level() -> int:
    """Best instruction set that kernel and processor support: 0 any, 1 AVX2, 2 AVX-512."""
    return kernel().inres_level()


@functools.cache
def threads() -> int:
    """Number of processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def items(*, count: int, dims: int, words: int, tiles: int, arrays: dict[str, Any]) -> Items:
    """Wrap the arrays of an Index on a CPU, given by the names in `_ITEMS`; None: not present."""
    held = tuple(None if arrays[name] is None else np.asarray(arrays[name]) for name in _ITEMS)
    pointers = (None if a is None else a.ctypes.data for a in held)
    return Items(_Items(*pointers, tiles, count, words, dims), held)


def _call(
    name: str,
    items: Items,
    queries: Queries,
    k: int,
    workers: int | None,
    force_level: int,
    given: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Call a function of the kernel; returns its outputs, int32 [3, Q, k] and [Q].

    Inputs and outputs share one block of memory, because asking NumPy for an address takes as long
    as searching a thousand codes.

    Raises:
      MemoryError: out of memory. If threads cannot be started, the kernel works with fewer.
    """
    q, k = len(queries.codes), int(k)
    flat = [None if x is None else x.reshape(-1).view(np.int32) for x in queries]
    used = sum(len(x) for x in flat if x is not None)
    # Any, because not all NumPy versions declare arrays as buffers.
    block: Any = np.empty(used + q * (3 * k + 1) + 1, np.int32)
    start = ctypes.addressof(ctypes.c_char.from_buffer(block))
    at = 0
    pointers: list[int | None] = []
    for column in flat:
        if column is None:
            pointers.append(None)
            continue
        end = at + len(column)
        block[at:end] = column
        pointers.append(start + 4 * at)
        at = end
    out, size = start + 4 * at, 4 * q * k
    if name == "inres_search":
        outputs: tuple[int, ...] = (out, out + size, out + 2 * size, out + 3 * size)
    elif given is None:
        outputs = (out, out + size, out + 2 * size)
    else:
        outputs = (given.ctypes.data, given.shape[1], out, out + size, out + 2 * size)
    struct = _Queries(*pointers, q, k)
    status = getattr(kernel(), name)(
        ctypes.addressof(items.struct),
        ctypes.addressof(struct),
        workers or threads(),
        force_level,
        *outputs,
    )
    if status:
        raise MemoryError(f"{name}: out of memory for {q} queries")
    end = at + 3 * q * k
    return block[at:end].reshape(3, q, k), block[end : end + q]


def search(
    items: Items,
    queries: Queries,
    *,
    k: int,
    workers: int | None = None,
    force_level: int = BEST,
) -> tuple[np.ndarray, ...]:
    """Two-stage search: ids, Hamming and Euclidean distances [Q, k], and pool sizes [Q].

    Args:
      items: the Index.
      queries: with features and thresholds.
      k: number of neighbours.
      workers: number of threads; default: one per core.
      force_level: best instruction set to use.
    """
    (ids, hamming, distance), pool = _call("inres_search", items, queries, k, workers, force_level)
    return ids, hamming, distance.view(np.float32), pool


def nearest(
    items: Items,
    queries: Queries,
    *,
    k: int,
    workers: int | None = None,
    force_level: int = BEST,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest codes: ids, Hamming distances and places in id order, int32 [Q, k]."""
    out, _ = _call("inres_nearest", items, queries, k, workers, force_level)
    return out[0], out[1], out[2]


def rank(
    items: Items,
    queries: Queries,
    place: np.ndarray,
    *,
    k: int,
    workers: int | None = None,
    force_level: int = BEST,
) -> tuple[np.ndarray, ...]:
    """Rank items given by places in id order, int32 [Q, m]: ids and both distances [Q, k]."""
    place = np.ascontiguousarray(place, np.int32)
    out, _ = _call("inres_rank", items, queries, k, workers, force_level, place)
    return out[0], out[1], out[2].view(np.float32)
