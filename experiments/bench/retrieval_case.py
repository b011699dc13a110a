"""Items, queries and competitors of one case of the search benchmark."""

import concurrent.futures
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.bench import competitors
from experiments.bench.competitors import threads as threads_lib
from experiments.bench.competitors import verify
from experiments.bench.competitors.interface import Competitor
from experiments.bench.random_items import RandomItems
from inres.retrieval import codes as codes_lib
from inres.retrieval import index as index_lib
from inres.system import memory, processes

QUERIES = 1024
"""Queries generated for each case."""
NEAR_BITS, NEAR_THRESHOLD = 2, 3
"""Queries for a pool of one item: an item's code with so many bits flipped, and the threshold."""
Point = tuple[str, int, int, int]
"""Kind of items, their number, bits and dims."""


class Case:
    """Items in our index and in competitors, and queries.

    Competitors have codes and features of their own, sorted by code like our index, so that they
    also read a pool in one sweep.
    """

    def __init__(self, config: ConfigDict, point: Point, scratch: Path):
        kind, n, bits, dims = point
        make = functools.partial(
            RandomItems, kind, bits=bits, dims=dims, seed=config.seed, trained=config.trained
        )
        items = make(n)
        items.sort()
        self.bits, self.dims = items.bits, items.dims
        self.codes = items.codes
        """uint32 [N, W]."""
        scratch.mkdir(parents=True, exist_ok=True)
        path = scratch / "features.npy"
        wide = items.write_features(path)
        begin = time.perf_counter()
        self.built = index_lib.build(items.codes, wide, bits=items.bits)

        self.build_seconds = time.perf_counter() - begin
        # In memory if there is room, so that the competitors have the same huge pages.
        self.features = np.array(wide) if not memory.lacking(3 * wide.nbytes) else np.asarray(wide)
        """float32 [N, D]."""
        del wide
        path.unlink()
        queries = make(QUERIES)
        self.query_codes, self.query_features = queries.codes, next(queries.features())
        self.near_codes = near_codes(self.codes, self.bits, seed=config.seed)
        self.rivals, self.left_out = build_competitors(config, self.codes, self.bits)

    def queries_for(self, pool: float, q: int) -> tuple[np.ndarray, int]:
        """Codes of the first `q` queries and the threshold for a target pool size.

        For an empty pool the codes are complemented: far from all items. For a pool of one item
        they are those of items with two bits flipped, and the threshold is 3.
        """
        queries = self.query_codes[:q]
        if pool == 0:
            return codes_lib.pack(~codes_lib.unpack(queries, self.bits)), 1
        if pool == 1:
            return self.near_codes[:q], min(NEAR_THRESHOLD, self.bits + 1)
        return queries, threshold_for(pool, self.codes, queries, self.bits)


def build_competitors(
    config: ConfigDict, codes: np.ndarray, bits: int
) -> tuple[list[Competitor], dict[str, str]]:
    """The competitors over these items, and why the others are left out, by name.

    Raises:
      RuntimeError: the reference, the first competitor, gives wrong answers.
    """
    built: list[Competitor] = []
    reasons = {}
    cores = processes.cores()
    for each in competitors.installed(config.competitors)[0]:
        counts = {1, cores} if each.limits_threads else {cores}
        fault = next(filter(None, (verify.fault(each, bits, n) for n in counts)), "")
        if fault and not built:
            raise RuntimeError(f"{each.name}, the reference: {fault}")
        if fault:
            reasons[each.name] = f"not used: {fault} on a small case"
        elif each.most_items is not None and len(codes) > each.most_items:
            reasons[each.name] = f"built for at most {each.most_items} items"
        else:
            try:
                with threads_lib.limited(cores):
                    built.append(each(codes, bits, threads=cores))
            except Exception as error:  # another program's: whatever it is, it is reported
                reasons[each.name] = f"not built: {type(error).__name__}: {error}"
    return built, reasons


def near_codes(codes: np.ndarray, bits: int, *, seed: int) -> np.ndarray:
    """Codes of random items with `NEAR_BITS` different bits flipped, uint32 [QUERIES, W]."""
    rng = np.random.default_rng([seed, len(codes)])
    near = codes_lib.unpack(codes[rng.integers(0, len(codes), QUERIES)], bits)
    flipped = np.argsort(rng.random(near.shape), axis=1)[:, :NEAR_BITS]
    np.put_along_axis(near, flipped, ~np.take_along_axis(near, flipped, axis=1), axis=1)
    return codes_lib.pack(near)


def threshold_for(pool: float, codes: np.ndarray, queries: np.ndarray, bits: int) -> int:
    """The threshold for a target pool size, estimated from a sample of items and queries.

    A target below 1 is a share of the items.
    """
    sample = codes[:: max(1, len(codes) >> 17)]
    distance = np.bitwise_count(queries[:32, None] ^ sample[None]).sum(-1)
    share = np.cumsum(np.bincount(distance.ravel(), minlength=bits + 1)) / distance.size
    target = pool if pool < 1 else pool / len(codes)
    return min(bits, int(np.searchsorted(share, target))) + 1


def read_once(packed: np.ndarray, threads: int) -> Callable[[], Any]:
    """A function that reads the codes with some threads and does nothing but add them up."""
    flat = packed.reshape(-1)
    parts = np.array_split(flat[: len(flat) // 2 * 2].view(np.uint64), threads)
    if threads == 1:
        return lambda: np.add.reduce(parts[0])
    pool = concurrent.futures.ThreadPoolExecutor(threads)
    return lambda: list(pool.map(np.add.reduce, parts))
