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
import struct
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from inres.retrieval import buckets, checks
from inres.retrieval import codes as codes_lib
from inres.retrieval.queries import Queries
from inres.retrieval.segment import Segment

ABI = 5
"""Version of the kernel's C interface; a kernel with another version is not used."""
NOT_FINITE = 2
"""Returned by the kernel for features that `checks.finite` refuses."""
BEST = 9
"""A level above all instruction sets: no limit."""
PLANS = ("auto", "scan", "list", "buckets", "descent")
"""How the kernel finds codes: `scan` reads all codes tile by tile together with the features,
`list` reads the directory first, `buckets` only the codes that share a substring with the query,
and `descent` only those that begin like it; `auto` takes the one with the lowest estimated cost.
A search for the nearest codes has no descent; it then chooses among the others."""
_ARRAYS = (
    "codes", "starts", "ids", "features", "order", "groups", "labels", "hidden", "sketch", "centre",
    "scale", "norm", "slack", "tables", "rows", "cuts",
)  # fmt: skip
_HEAD = struct.Struct("8q5?3x")
_first_byte = (ctypes.c_char * 1).from_buffer
"""An array of C that begins where a buffer does."""
_SIZES = ("distinct", "count", "words", "dims", "kind", "width", "substrings")


class _Segment(ctypes.Structure):
    """Mirrors the struct Segment in kernel.cc."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_int64) for name in _SIZES),
    )


@dataclasses.dataclass(frozen=True)
class How:
    """How the kernel works; the results are the same."""

    workers: int = 0
    """Number of threads; 0: one per core."""
    plan: str = "auto"
    """One of PLANS."""
    level: int = BEST
    """Best instruction set to use."""

    @functools.cached_property
    def numbers(self) -> tuple[int, int, int]:
        """As the kernel takes them: plan, threads and level."""
        return PLANS.index(self.plan), self.workers or threads(), self.level


class Items(NamedTuple):
    """The segments of an Index as passed to the kernel."""

    address: int
    """Where the first struct Segment is in memory."""
    segments: int
    """Number of structs, at least one."""
    held: tuple[Any, ...]
    """The structs and the arrays that they point to, kept alive."""


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
    for name in ("inres_search", "inres_nearest", "inres_rank", "inres_widen"):
        getattr(loaded, name).argtypes = [ctypes.c_void_p, ctypes.c_void_p]
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
    structs[0].words, structs[0].dims = codes_lib.words(bits), dims  # if there is no segment
    held: list[np.ndarray] = []
    for one, segment in zip(structs, segments, strict=False):
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
                setattr(one, name, array.ctypes.data)
        one.distinct, one.count = directory.count, len(segment)
        one.words, one.dims = codes_lib.words(bits), dims
        one.kind = checks.FLOATS.index(segment.features.dtype)
        one.width, one.substrings = found.width, substrings
    return Items(ctypes.addressof(structs), len(structs), (structs, *held))


def _room(count: int) -> tuple[np.ndarray, Any]:
    """Room for `count` numbers of 4 bytes and one more, int32, and where it is."""
    # Any, because not all NumPy versions declare arrays as buffers. A buffer must not be empty.
    block: Any = np.empty(count + 1, np.int32)
    return block, _first_byte(block)  # several times faster than block.ctypes.data


def _call(
    function: Any,
    items: Items,
    queries: Queries,
    k: int,
    how: How,
    out: Any,
    *,
    place: np.ndarray | None = None,
    m: int = 0,
) -> None:
    """Call a function of the kernel, which writes to `out`.

    All that is asked for is one block of bytes (struct Request in kernel.cc), because each argument
    of a C function takes as long as comparing a hundred codes.

    Args:
      place: places int64 [Q, m], for `rank`.
      m: number of places, or of items for `widen`.

    Raises:
      ValueError: features are not finite.
      MemoryError: out of memory. If threads cannot be started, the kernel works with fewer.
    """
    codes, features, threshold, own, only = queries
    count = len(codes)
    request: tuple[Any, ...] = (
        _HEAD.pack(
            items.address,
            items.segments,
            count,
            k,
            *how.numbers,
            m,
            place is not None,
            features is not None,
            threshold is not None,
            own is not None,
            only is not None,
        ),
        b"" if place is None else place,
        codes,
        b"" if features is None else features,
        b"" if threshold is None else threshold,
        b"" if own is None else own,
        b"" if only is None else only,
    )
    status = function(b"".join(request), out)
    if status == NOT_FINITE and features is not None:
        checks.finite(features, "query_features")
    if status:
        raise MemoryError(f"{function.__name__}: out of memory for {count} queries")


def search(
    items: Items,
    queries: Queries,
    *,
    k: int,
    how: How = How(),
) -> tuple[np.ndarray, ...]:
    """Two-stage search: ids, Hamming and Euclidean distances [Q, k], and pool sizes [Q].

    Args:
      items: the Index.
      queries: with features and thresholds.
      k: number of neighbours.
      how: threads, plan and instruction set.
    """
    q = len(queries.codes)
    end = 3 * q * k
    block, address = _room(end + q)
    _call(kernel().inres_search, items, queries, k, how, address)
    out = block[:end].reshape(3, q, k)
    return out[0], out[1], out[2].view(np.float32), block[end : end + q]


def nearest(
    items: Items,
    queries: Queries,
    *,
    k: int,
    how: How = How(),
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k nearest codes: ids and Hamming distances int32 [Q, k], and places int64 [Q, k]."""
    q = len(queries.codes)
    size = q * k
    block, address = _room(4 * size)
    _call(kernel().inres_nearest, items, queries, k, how, address)
    near = block[: 2 * size].reshape(2, q, k)
    return near[0], near[1], block[2 * size : 4 * size].view(np.int64).reshape(q, k)


def rank(
    items: Items,
    queries: Queries,
    place: np.ndarray,
    *,
    k: int,
    how: How = How(),
) -> tuple[np.ndarray, ...]:
    """Rank items given by places int64 [Q, m] (-1: none): ids and both distances [Q, k]."""
    q, m = place.shape
    block, address = _room(3 * q * k)
    given = np.ascontiguousarray(place, np.int64)
    _call(kernel().inres_rank, items, queries, k, how, address, place=given, m=m)
    out = block[: 3 * q * k].reshape(3, q, k)
    return out[0], out[1], out[2].view(np.float32)


def widen(
    items: Items,
    queries: Queries,
    *,
    least: int,
    how: How = How(),
) -> np.ndarray:
    """The smallest thresholds int32 [Q] whose pools have `least` items, or all that there are."""
    q = len(queries.codes)
    block, address = _room(q)
    _call(kernel().inres_widen, items, queries, 0, how, address, m=least)
    return block[:q]
