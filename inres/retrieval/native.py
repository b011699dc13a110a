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
import dataclasses
import functools
import importlib.util
import os
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from inres.retrieval import buckets
from inres.retrieval import codes as codes_lib
from inres.retrieval.queries import Queries
from inres.retrieval.segment import Segment

ABI = 3
"""Version of the kernel's C interface; a kernel with another version is not used."""
BEST = 9
"""A level above all instruction sets: no limit."""
PLANS = ("auto", "scan", "list", "buckets")
"""How the kernel finds codes: `scan` reads all codes tile by tile together with the features,
`list` reads the directory first, and `buckets` only the codes that share a substring with the
query; `auto` takes the one with the lowest estimated cost."""
FEATURES = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
_ARRAYS = (
    "codes", "starts", "ids", "features", "order", "groups", "labels", "hidden", "sketch", "centre",
    "scale", "norm", "slack", "tables", "rows", "cuts",
)  # fmt: skip
_SIZES = ("distinct", "count", "words", "dims", "kind", "width", "substrings")
_QUERIES = ("codes", "features", "threshold", "exclude_group", "only_label")


class _Segment(ctypes.Structure):
    """Mirrors the struct Segment in kernel.cc."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_int64) for name in _SIZES),
    )


class _Queries(ctypes.Structure):
    """Mirrors the struct Queries in kernel.cc, where the last two arrays are `own` and `only`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _QUERIES),
        *((name, ctypes.c_int64) for name in ("count", "k", "plan")),
    )


class How(NamedTuple):
    """How the kernel works; the results are the same."""

    workers: int = 0
    """Number of threads; 0: one per core."""
    plan: str = "auto"
    """One of PLANS."""
    level: int = BEST
    """Best instruction set to use."""


class Items(NamedTuple):
    """The segments of an Index as passed to the kernel."""

    structs: Any
    arrays: tuple[np.ndarray, ...]
    """The arrays that `structs` points to, kept alive with them."""


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
    head: list[Any] = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, *(2 * [ctypes.c_int])]
    address, number = ctypes.c_void_p, ctypes.c_int64
    loaded.inres_search.argtypes = [*head, *(4 * [address])]
    loaded.inres_nearest.argtypes = [*head, *(3 * [address])]
    loaded.inres_rank.argtypes = [*head, address, number, *(3 * [address])]
    loaded.inres_widen.argtypes = [*head, number, address]
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


def items(segments: Sequence[Segment], *, bits: int, dims: int) -> Items:
    """The segments of an Index in the form that the kernel takes; arrays are not copied."""
    structs = (_Segment * max(1, len(segments)))()
    held: list[np.ndarray] = []
    for struct, segment in zip(structs, segments, strict=False):
        directory, sketch = segment.directory, segment.sketch
        found = directory.buckets
        substrings = len(found.tables)
        cuts = buckets.cuts(bits, found.width, substrings) if substrings else []
        arrays = {
            "codes": directory.codes,
            "starts": directory.starts,
            "ids": segment.ids,
            "features": segment.features,
            "order": segment.order,
            "groups": segment.groups,
            "labels": segment.labels,
            "hidden": segment.hidden,
            "sketch": sketch.codes,
            "centre": sketch.centre,
            "scale": sketch.scale,
            "norm": sketch.norm,
            "slack": sketch.slack,
            "tables": found.tables,
            "rows": found.rows,
            "cuts": np.array([dataclasses.astuple(cut) for cut in cuts], np.int32),
        }
        for name, array in arrays.items():
            if array is not None:
                held.append(array)
                setattr(struct, name, array.ctypes.data)
        struct.distinct, struct.count = directory.count, len(segment)
        struct.words, struct.dims = codes_lib.words(bits), dims
        struct.kind = FEATURES.index(segment.features.dtype)
        struct.width, struct.substrings = found.width, substrings
    return Items(structs, tuple(held))


def _call(
    name: str,
    items: Items,
    queries: Queries,
    k: int,
    how: How,
    place: np.ndarray | None = None,
    least: int = 0,
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
    outputs: tuple[int, ...]
    if name == "inres_search":
        outputs = (out, out + size, out + 2 * size, out + 3 * size)
    elif name == "inres_widen":
        outputs = (least, out + 3 * size)
    elif name == "inres_nearest":
        assert place is not None
        outputs = (out, out + size, place.ctypes.data)
    else:
        assert place is not None
        outputs = (place.ctypes.data, place.shape[1], out, out + size, out + 2 * size)
    struct = _Queries(*pointers, q, k, PLANS.index(how.plan))
    status = getattr(kernel(), name)(
        ctypes.addressof(items.structs),
        len(items.structs),
        ctypes.addressof(struct),
        how.workers or threads(),
        how.level,
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
    how: How = How(),  # noqa: B008
) -> tuple[np.ndarray, ...]:
    """Two-stage search: ids, Hamming and Euclidean distances [Q, k], and pool sizes [Q].

    Args:
      items: the Index.
      queries: with features and thresholds.
      k: number of neighbours.
      how: threads, plan and instruction set.
    """
    (ids, hamming, distance), pool = _call("inres_search", items, queries, k, how)
    return ids, hamming, distance.view(np.float32), pool


def nearest(
    items: Items,
    queries: Queries,
    *,
    k: int,
    how: How = How(),  # noqa: B008
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest codes: ids and Hamming distances int32 [Q, k], and places int64 [Q, k]."""
    place = np.empty((len(queries.codes), int(k)), np.int64)
    out, _ = _call("inres_nearest", items, queries, k, how, place)
    return out[0], out[1], place


def rank(
    items: Items,
    queries: Queries,
    place: np.ndarray,
    *,
    k: int,
    how: How = How(),  # noqa: B008
) -> tuple[np.ndarray, ...]:
    """Rank items given by places int64 [Q, m] (-1: none): ids and both distances [Q, k]."""
    place = np.ascontiguousarray(place, np.int64)
    out, _ = _call("inres_rank", items, queries, k, how, place)
    return out[0], out[1], out[2].view(np.float32)


def widen(
    items: Items,
    queries: Queries,
    *,
    least: int,
    how: How = How(),  # noqa: B008
) -> np.ndarray:
    """The smallest thresholds int32 [Q] whose pools have `least` items, or all that there are."""
    return _call("inres_widen", items, queries, 0, how, least=least)[1][: len(queries.codes)]
