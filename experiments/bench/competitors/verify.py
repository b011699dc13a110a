"""A check of a competitor's answers against NumPy, before it is used."""

import functools

import numpy as np

from experiments.bench.competitors.interface import Competitor, NotApplicable
from experiments.bench.competitors.threads import limited
from inres.retrieval import codes as codes_lib

ITEMS, QUERIES, K = 3000, 6, 70


def small_case(bits: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Packed items and queries with many equal codes, uint32 [N, W] each; items are sorted."""
    rng = np.random.default_rng(seed)
    centres = rng.random((40, bits)) < 0.5
    clean = centres[rng.integers(0, len(centres), ITEMS + QUERIES)]
    clean ^= rng.random(clean.shape) < rng.choice([0, 0.02, 0.5], len(clean))[:, None]
    packed = codes_lib.pack(clean)
    items = packed[:ITEMS]
    return items[np.lexsort(items.T[::-1])], packed[ITEMS:]


def distances(items: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Hamming distances by NumPy, int [Q, N]."""
    return np.bitwise_count(items[None] ^ queries[:, None]).sum(axis=2, dtype=np.int64)


@functools.cache
def fault(competitor: type[Competitor], bits: int, threads: int) -> str:
    """What is wrong with the answers on a small case; empty if nothing is."""
    items, queries = small_case(bits)
    distance = distances(items, queries)
    try:
        with limited(threads):
            rival = competitor(items, bits, threads=threads)
            for count in (1, QUERIES):
                found = _wrong(rival, queries[:count], distance[:count], bits)
                if found:
                    return f"{found} ({count} queries)"
    except Exception as error:  # another program's: whatever it is, it is reported
        return f"{type(error).__name__}: {error}"
    return ""


def _wrong(rival: Competitor, queries: np.ndarray, distance: np.ndarray, bits: int) -> str:
    try:
        rival.prepare_top_k(queries, K)
        if not np.array_equal(rival.top_k(queries, K), np.sort(distance, axis=1)[:, :K]):
            return f"wrong distances of the {K} nearest"
    except NotApplicable:
        pass
    for threshold in (1, 2, 3, bits // 8, bits // 2, bits + 1):
        try:
            rival.prepare_pools(queries, threshold)
            pools = rival.pools(queries, threshold)
        except NotApplicable:
            continue
        for pool, row in zip(pools, distance, strict=True):
            if not np.array_equal(np.sort(pool), np.flatnonzero(row < threshold)):
                return f"wrong pool below a distance of {threshold}"
    return ""
