"""Times of the plans of the search, each one forced, and the regret of choosing between them.

Called by `experiments.bench`. The regret of `auto` is its time divided by that of the fastest plan.
The constants at the top of inres/retrieval/kernel_search.h were chosen by this table. Writes
bench_plans.json and bench_plans.md to the workdir.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from experiments.bench.random_items import RandomItems
from experiments.bench.retrieval_case import NEAR_THRESHOLD, QUERIES, near_codes, threshold_for
from inres.retrieval import index as index_lib
from inres.retrieval import native
from inres.retrieval import search as search_lib
from inres.system import files, processes, tables
from inres.system.progress import progress


def measure_plans(config: ConfigDict, workdir: Path) -> None:
    """Measure every case, and write the results after each one."""
    if native.kernel() is None:
        raise RuntimeError("plans are those of the kernel, which was not built")
    points = list(itertools.product(config.codes, config.sizes))
    count = len(points) * len(config.queries) * (len(config.pools) + len(config.nearest))
    measured = (row for point in points for row in measure_point(config, *point))
    rows: list[dict[str, Any]] = []
    for row in progress(measured, name="cases", total=count, unit="case"):
        rows.append(row)
        environment = {"cores": processes.cores(), "kernel_level": native.level()}
        files.write_json(workdir / "bench_plans.json", {"environment": environment, "rows": rows})
        files.write_text(workdir / "bench_plans.md", table_of(rows))
    print(table_of(rows))


def measure_point(config: ConfigDict, kind: str, n: int) -> Iterator[dict[str, Any]]:
    """The rows of one set of items."""
    make = functools.partial(
        RandomItems, kind, bits=config.bits, dims=config.dims, seed=config.seed
    )
    items, queries = make(n), make(QUERIES)
    built = index_lib.build(items.codes, np.concatenate([*items.features()]), bits=config.bits)
    near = near_codes(items.codes, config.bits, seed=config.seed)
    features = next(queries.features())
    for q in config.queries:
        base = {"codes": kind, "items": n, "queries": q}
        for pool in config.pools:
            codes = (near if pool == 1 else queries.codes)[:q]
            limit = threshold_for(pool, items.codes, codes, config.bits)
            limit = NEAR_THRESHOLD if pool == 1 else limit
            search = functools.partial(
                search_lib.search, built, codes, features[:q], k=config.k, threshold=limit
            )
            size = float(np.median(search().pool_size))
            yield {**base, "case": "two stages", "pool": size} | times(config, search)
        for k in config.nearest:
            nearest = functools.partial(search_lib.search_hamming, built, queries.codes[:q], k=k)
            yield {**base, "case": f"hamming top-{k}", "pool": float(k)} | times(config, nearest)


def times(config: ConfigDict, search: Callable[..., Any]) -> dict[str, Any]:
    """Milliseconds of each plan in its fastest round, and the regret of `auto`."""
    rivals = {plan: functools.partial(search, plan=plan) for plan in native.PLANS}
    timed = timing.interleaved(rivals, rounds=config.rounds, round_seconds=config.round_seconds)
    least = {plan: 1e3 * float(one.seconds.min()) for plan, one in timed.items()}
    fastest = min(least.keys() - {"auto"}, key=least.__getitem__)
    return {
        **{plan: round(time, 4) for plan, time in least.items()},
        "fastest": fastest,
        "regret": round(least["auto"] / least[fastest], 2),
    }


def table_of(rows: list[dict[str, Any]]) -> str:
    """The cases as Markdown, largest regret first."""
    ordered = sorted(rows, key=lambda row: -row["regret"])
    names = [*rows[0]]
    return "Times of the plans, ms\n\n" + tables.markdown(
        names, [tuple(row[name] for name in names) for row in ordered]
    )
