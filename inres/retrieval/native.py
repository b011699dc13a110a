"""The search on a CPU by a compiled kernel (`kernel.cc`): what the jitted programs give, up to the
rounding of a distance's float32 sum; the same bits on any processor and number of threads.

One call of a program costs tens of microseconds before it does anything, as much as searching a
hundred thousand codes; and one query's few candidates are cheaper followed than computed around.
So where an Index lies on a CPU, its arrays are handed to the kernel as they are, without a copy.
The kernel is built when the package is installed; without it (no compiler, another device) the
jitted programs do the work, and `search` says so once.
"""

import ctypes
import functools
import importlib.util
import os
import warnings
from typing import Any, NamedTuple

import numpy as np

ABI = 1
"""Raised with every change of the kernel's interface; a kernel of another build is not used."""
BEST = 9
"""The best instruction set there is."""
_ITEMS = (
    "codes", "features", "ids", "groups", "labels", "sketch", "centre", "scale", "norm", "slack",
    "codes_by_id", "groups_by_id", "labels_by_id", "ids_by_id", "place",
)  # fmt: skip
_QUERIES = ("codes", "features", "threshold", "exclude_group", "only_label")


class _Items(ctypes.Structure):
    """Of kernel.cc, field for field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _ITEMS),
        *((name, ctypes.c_int64) for name in ("tiles", "count", "words", "dims")),
    )


class _Queries(ctypes.Structure):
    """Of kernel.cc, field for field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _QUERIES),
        *((name, ctypes.c_int64) for name in ("count", "k")),
    )


class Items(NamedTuple):
    """The arrays of an Index, as the kernel takes them."""

    struct: Any
    arrays: tuple[np.ndarray | None, ...]
    """What the struct points to."""


class Queries(NamedTuple):
    """Queries as NumPy arrays, C-contiguous."""

    codes: np.ndarray
    """uint32 [Q, W]."""
    features: np.ndarray | None = None
    """float32 [Q, D]; None in a search by Hamming distance alone."""
    threshold: Any = None
    """int32 [Q]; None in a search by Hamming distance alone."""
    exclude_group: np.ndarray | None = None
    """int32 [Q], the group left out; -1 or None: none."""
    only_label: np.ndarray | None = None
    """int32 [Q], the label wanted; -1 or None: any."""


@functools.cache
def kernel() -> Any:
    """The kernel, or None (with a warning, once) where there is none that fits."""
    spec = importlib.util.find_spec("inres.retrieval._kernel")
    remedy = "install the package again with a C++ compiler; searching by jitted programs instead"
    if spec is None or spec.origin is None:
        warnings.warn(f"the CPU kernel of the search was not built: {remedy}", stacklevel=3)
        return None
    try:
        loaded = ctypes.CDLL(spec.origin)
        abi = loaded.inres_abi()
    except (OSError, AttributeError) as error:
        warnings.warn(f"{spec.origin}: no kernel of the search ({error}): {remedy}", stacklevel=3)
        return None
    if abi != ABI:
        warnings.warn(
            f"{spec.origin}: built with interface {abi}, this is {ABI}: {remedy}", stacklevel=3
        )
        return None
    head: list[Any] = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    address, number = ctypes.c_void_p, ctypes.c_int64
    loaded.inres_search.argtypes = [*head, *(4 * [address])]
    loaded.inres_nearest.argtypes = [*head, *(3 * [address])]
    loaded.inres_rank.argtypes = [*head, address, number, *(3 * [address])]
    return loaded


def level() -> int:
    """Instruction set that the kernel has code for and this processor: 0 any, 1 AVX2, 2 AVX-512."""
    return kernel().inres_level()


@functools.cache
def threads() -> int:
    """Processors of this process."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def items(*, count: int, dims: int, words: int, tiles: int, arrays: dict[str, Any]) -> Items:
    """Hand over an Index on the CPU; `arrays` by the names of `_ITEMS`, None: there is none."""
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
    """Call a function of the kernel; its outputs int32 [3, Q, k] and [Q].

    Inputs and outputs lie in one block of memory: asking NumPy for an address costs as much as
    searching a thousand codes.

    Raises:
      MemoryError: it had no memory. Where no more threads can be had, it goes on with fewer.
    """
    q, k = len(queries.codes), int(k)
    flat = [None if x is None else x.reshape(-1).view(np.int32) for x in queries]
    used = sum(len(x) for x in flat if x is not None)
    # Any: not every NumPy's types know that arrays are buffers.
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
    """(ids, Hamming distances, Euclidean distances) [Q, k] and pool sizes [Q].

    Args:
      items: the Index.
      queries: all of its fields but the optional ones.
      k: neighbours.
      workers: threads; default: one a processor.
      force_level: use no better instruction set than this.
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
    """(ids, Hamming distances, places in id order) int32 [Q, k]; -1 where there is none."""
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
    """(ids, Hamming distances, Euclidean distances) [Q, k] of given items int32 [Q, m]."""
    place = np.ascontiguousarray(place, np.int32)
    out, _ = _call("inres_rank", items, queries, k, workers, force_level, place)
    return out[0], out[1], out[2].view(np.float32)
