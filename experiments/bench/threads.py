"""Single queries from several threads at the same time: queries per second and response times.

Called by `experiments.bench`. Writes bench_threads.json and bench_threads.md to the workdir. Every
thread searches for one query after the other, either with one thread of the kernel for each search
or with the default, up to one per core.
"""

import concurrent.futures
import functools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from experiments.bench.random_items import RandomItems
from experiments.bench.retrieval_case import NEAR_THRESHOLD, QUERIES, near_codes, threshold_for
from inres.retrieval import index as index_lib
from inres.retrieval import search as search_lib
from inres.system import files, processes, tables

COLUMNS = {
    "pool": "pool",
    "threads": "threads",
    "workers": "workers",
    "per_second": "queries per second",
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
}


def measure_threads(config: ConfigDict, workdir: Path) -> None:
    """Measure every number of threads and write the results."""
    make = functools.partial(
        RandomItems, config.codes, bits=config.bits, dims=config.dims, seed=config.seed
    )
    items, queries = make(config.size), make(QUERIES)
    built = index_lib.build(items.codes, np.concatenate([*items.features()]), bits=config.bits)
    features = next(queries.features())
    rows = []
    for pool in config.pools:
        codes, limit = queries.codes, NEAR_THRESHOLD
        if pool == 1:
            codes = near_codes(items.codes, config.bits, seed=config.seed)
        else:
            limit = threshold_for(pool, items.codes, codes, config.bits)

        def ask(i: int, workers: int | None, codes: Any = codes, limit: int = limit) -> int:
            one = slice(i % QUERIES, i % QUERIES + 1)
            given = {"k": config.k, "threshold": limit, "workers": workers}
            found = search_lib.search(built, codes[one], features[one], **given)
            return int(found.pool_size[0])

        size = float(np.median([ask(i, None) for i in range(32)]))
        for workers in (None, 1):
            for threads in config.threads:
                row = {"pool": size, "threads": threads, "workers": workers or "default"}
                call = functools.partial(ask, workers=workers)
                rows.append(row | throughput(call, threads, seconds=config.seconds))
    environment = {"cores": processes.cores(), "config": json.loads(config.to_json())}
    files.write_json(workdir / "bench_threads.json", {"environment": environment, "rows": rows})
    named = [tuple(row[name] for name in COLUMNS) for row in rows]
    table = tables.markdown([*COLUMNS.values()], named)
    files.write_text(workdir / "bench_threads.md", table)
    print(table)


def throughput(call: Callable[[int], Any], threads: int, *, seconds: float) -> dict[str, float]:
    """Rate and percentiles of `call(i)` for different i from so many threads at once."""
    together = threading.Barrier(threads)

    def work(number: int) -> list[float]:
        taken: list[float] = []
        together.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            i = number + threads * len(taken)
            taken.append(timing.seconds_of(functools.partial(call, i)))
        return taken

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        taken = [*pool.map(work, range(threads))]
    every = np.concatenate(taken)
    return {
        "per_second": round(len(every) / seconds),
        "p50_ms": round(float(1e3 * np.percentile(every, 50)), 4),
        "p99_ms": round(float(1e3 * np.percentile(every, 99)), 4),
    }
