"""Validates the arguments of `index.build` and `search.search` and converts them to arrays."""

import functools
import math
from typing import Any

import ml_dtypes
import numpy as np

from inres.retrieval import codes as codes_lib
from inres.retrieval.queries import Queries

FLOATS = (np.dtype(np.float32), np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
"""Types of features, in the order of the kernel's numbers for them."""
_MOST = int(np.iinfo(np.int32).max)


def items(
    codes: Any, features: Any, *, bits: int, ids: Any, groups: Any, labels: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The arguments of `index.build` as arrays: codes, features, ids, groups and labels.

    Errors as in `index.build`.
    """
    codes = codes_lib.check(np.asarray(codes), bits)
    if bits > codes_lib.MAX_BITS:
        raise ValueError(f"bits is {bits}, must be at most {codes_lib.MAX_BITS}")
    if codes.ndim != 2:
        raise ValueError(f"codes have shape {codes.shape}, must be [N, {codes_lib.words(bits)}]")
    n = len(codes)
    features = _features(features, None, "features")
    if len(features) != n:
        raise ValueError(f"{n} codes but {len(features)} rows of features")
    if ids is None:
        ids = np.arange(n, dtype=np.int32)
    else:
        ids = integers(ids, n, "ids", least=0)
        if len(np.unique(ids)) != n:
            raise ValueError("ids repeat; every item needs its own id")
    groups = None if groups is None else integers(groups, n, "groups")
    labels = None if labels is None else integers(labels, n, "labels")
    return codes, features, ids, groups, labels


def queries(
    query_codes: Any,
    query_features: Any,
    *,
    bits: int,
    dims: int,
    k: int,
    threshold: Any = None,
    nearest: int | None = None,
    min_pool: int = 0,
    exclude_group: Any = None,
    only_label: Any = None,
    labelled: bool = True,
    values: bool = True,
) -> Queries:
    """The arguments of `search.search` as arrays; errors as there.

    `labelled` says whether the index has labels. Without features, the search is by Hamming
    distance alone. Without `values`, it is left to the kernel to call `finite`.
    """
    codes = codes_lib.check(np.ascontiguousarray(query_codes), bits, name="query_codes")
    if codes.ndim != 2:
        raise ValueError(f"query_codes have shape {codes.shape}, must be [Q, W]")
    q = len(codes)
    if not (type(k) is type(min_pool) is int and k >= 1 and min_pool >= 0):
        _whole("k", k, 1)
        _whole("min_pool", min_pool, 0)
    if nearest is not None:
        _whole("nearest", nearest, 1)
        if min_pool:
            raise ValueError("min_pool works only with a threshold, not with nearest")
    if query_features is not None:
        query_features = _features(query_features, dims, "query_features")
        query_features = np.ascontiguousarray(query_features, np.float32)
        if values:
            finite(query_features, "query_features")
        if len(query_features) != q:
            raise ValueError(f"{q} query codes but {len(query_features)} query features")
        if (threshold is None) == (nearest is None):
            raise ValueError("give exactly one of threshold and nearest")
    if only_label is not None and not labelled:
        raise ValueError("only_label: the index has no labels; pass them to build or with_labels")
    return Queries(
        codes,
        query_features,
        None if threshold is None else _thresholds(threshold, q, most=bits + 1),
        None if exclude_group is None else integers(exclude_group, q, "exclude_group"),
        None if only_label is None else integers(only_label, q, "only_label"),
    )


def _whole(name: str, value: Any, least: int) -> None:
    """Check that a count is a whole number of at least `least`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < least:
        raise ValueError(f"{name} is {value!r}, must be a whole number of {least} or more")


def _thresholds(threshold: Any, q: int, *, most: int) -> np.ndarray:
    """One threshold, or one per query, as int32 [Q], with larger values reduced to `most`."""
    if type(threshold) is int and threshold >= 0 and q <= codes_lib.FEW:  # usual, and the fastest
        return _equal(min(threshold, most), q)
    limits = np.asarray(threshold)
    if limits.shape not in ((), (q,)) or limits.dtype.kind not in "iu":
        raise ValueError(
            f"threshold: {limits.dtype} {limits.shape}, must be an integer or integers [{q}]"
        )
    if q and limits.min() < 0:
        raise ValueError(f"threshold is {limits.min()}, must be 0 or more")
    return np.broadcast_to(np.minimum(limits, most).astype(np.int32), (q,)).copy()


@functools.lru_cache(4096)
def _equal(threshold: int, q: int) -> np.ndarray:
    """int32 [q], read-only because searches share it: making one takes as long as a small pool."""
    limits = np.full(q, threshold, np.int32)
    limits.flags.writeable = False
    return limits


def _features(features: Any, dims: int | None, name: str) -> np.ndarray:
    """Features as an array [N, D] of a supported dtype; the values are not checked."""
    array = np.asarray(features)
    if array.dtype not in FLOATS:
        raise TypeError(f"{name} are {array.dtype}, must be float32 (or float16, bfloat16)")
    if array.ndim != 2 or array.shape[1] < 1 or (dims is not None and array.shape[1] != dims):
        raise ValueError(f"{name} have shape {array.shape}, must be [N, {dims or 'D'}]")
    return array


def finite(rows: np.ndarray, name: str, numbers: np.ndarray | None = None) -> None:
    """Check that rows float32 [N, D] are finite and their squared distances do not overflow.

    `numbers` [N] replace the row numbers in the message.
    """
    limit = math.sqrt(1e37 / rows.shape[1]) / 2
    # For a few queries the sum of squares is usually below the limit of a single element. It does
    # not overflow in float64.
    if rows.size < 1 << 16:
        flat = rows.ravel().astype(np.float64)
        if flat.dot(flat) < limit:
            return
    # min and max propagate NaN and make no copy.
    largest = max(-float(rows.min()), float(rows.max()))
    if not np.isfinite(largest):
        row = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        row = row if numbers is None else int(numbers[row])
        raise ValueError(f"{name}: row {row} is not finite; NaN and inf cannot be ranked")
    if largest > limit:
        raise ValueError(
            f"{name}: largest magnitude {largest:.3g}, squared distances overflow float32 "
            f"above {limit:.3g}; scale the features"
        )


def integers(values: Any, n: int, name: str, least: int = -1) -> np.ndarray:
    """`values` as int32 [n], after checking that none is below `least`."""
    array = np.asarray(values)
    if array.shape != (n,) or array.dtype.kind not in "iu":
        raise ValueError(f"{name}: {array.dtype} {array.shape}, must be integers [{n}]")
    if n:
        few = array.tolist() if n <= codes_lib.FEW else (array.min(), array.max())
        if min(few) < least or max(few) > _MOST:
            raise ValueError(f"{name}: values must be {least} or more and fit int32")
    return array.astype(np.int32)
