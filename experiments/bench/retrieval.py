"""Times of the search against other exact programs; every answer is compared before it is timed.

Called by `experiments.bench`. The competitors are described in `experiments.bench.competitors`;
those that are not installed are left out with a message. Writes to the workdir bench.json, bench.md
(tables) and bench.png, .pdf and .svg (time against the number of items, with the fastest competitor
of each case and the time to read the codes once). Takes several hours on two cores, 24 GB of memory
and 12 GB of disk.

Without `config.trained` the cases with trained codes are skipped, and a message says so.
"""

import inspect
import itertools
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.bench import (
    competitors,
    contest,
    retrieval_context,
    retrieval_devices,
    retrieval_plot,
    retrieval_report,
    timing,
)
from experiments.bench.questions import HammingQuestion, TwoStageQuestion
from experiments.bench.retrieval_case import QUERIES, Case, Point
from inres.retrieval import native, plans
from inres.retrieval import search as search_lib
from inres.system import files, processes
from inres.system.progress import progress


def compare_searches(config: ConfigDict, workdir: Path, *, devices: int = 0) -> None:
    """Measure every case; results are written after each one.

    With `devices`, only the sharded search on that many devices of this process is measured.
    """
    faiss.cvar.distance_compute_blas_threshold = 20
    if devices:
        sharded = retrieval_devices.measure_devices(config)
        files.write_json(workdir / f"devices-{devices}.json", sharded)
        return
    environment = describe_environment(config)
    rows: list[dict[str, Any]] = []

    def write() -> None:
        files.write_json(
            workdir / "bench.json",
            {"environment": environment, "config": json.loads(config.to_json()), "rows": rows},
        )
        files.write_text(workdir / "bench.md", retrieval_report.tables_of(rows))

    found = points(config)
    measured = (row for point in found for row in measure_point(config, *point, workdir))
    for row in progress(measured, name="cases", total=count_cases(config, found), unit="case"):
        rows.append(row)
        write()
    if "devices" in config.run:
        rows += retrieval_devices.run_devices(config, workdir)
        write()
    retrieval_plot.plot(rows, workdir / "bench")
    print(retrieval_report.tables_of(rows))
    print(*(workdir / name for name in ("bench.json", "bench.md", "bench.png")), sep="\n")


def describe_environment(config: ConfigDict) -> dict[str, Any]:
    """Versions and hardware behind the times; reports competitors that are not installed."""
    found, missing = competitors.installed(config.competitors)
    missing += retrieval_context.missing()
    if "workers" not in inspect.signature(search_lib.search).parameters:
        missing.append("the search has no argument `workers`: there is no column for one thread")
    for message in missing:
        print(message)
    return {
        "jax": jax.__version__,
        "competitors": competitors.versions(found),
        "missing": missing,
        "faiss_options": faiss.get_compile_options().strip(),
        "kernel_level": None if native.kernel() is None else native.level(),
        "devices": [str(device) for device in jax.devices()],
        "cores": processes.cores(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def points(config: ConfigDict) -> list[tuple[str, Point]]:
    """Name of a selected sweep and one of its points, for all of them."""
    found = [
        (name, point)
        for name in config.run
        if name != "devices"
        for point in itertools.product(
            *(config.sweeps[name][field] for field in ("codes", "sizes", "bits", "dims"))
        )
    ]
    if not config.trained:
        print("trained codes are skipped: set config.trained to an index on disk")
        found = [(name, point) for name, point in found if point[0] != "trained"]
    return found


def count_cases(config: ConfigDict, found: list[tuple[str, Point]]) -> int:
    """Number of rows of these points."""
    sweeps = [config.sweeps[name] for name, _ in found]
    others = sum(name == "scale" and n == config.context_items for name, (_, n, *_) in found)
    return others * retrieval_context.count() + sum(
        len(s.queries) * (1 + len(s.pools)) + (1 in s.queries) for s in sweeps
    )


def measure_point(
    config: ConfigDict, name: str, point: Point, scratch: Path
) -> Iterator[dict[str, Any]]:
    """All rows of one set of items of the sweep `name`, one after the other."""
    kind, n, _, _ = point
    sweep = config.sweeps[name]
    case = Case(config, point, scratch)
    base = {
        "sweep": name, "codes": kind, "items": n, "bits": case.bits, "dims": case.dims,
        "k": config.k,
    }  # fmt: skip
    for q in sweep.queries:
        yield base | hamming_row(config, case, q)
        for pool in sweep.pools:
            yield base | two_stage_row(config, case, q, pool)
    if 1 in sweep.queries:
        yield base | single_queries(config, case)
    if name == "scale" and n == config.context_items:
        for row in retrieval_context.rows(config, case):
            yield base | row


def hamming_row(config: ConfigDict, case: Case, q: int) -> dict[str, Any]:
    """The K nearest codes, and reading the codes once."""
    question = HammingQuestion(case, case.query_codes[:q], config.k)
    row = {"case": "hamming top-k", "queries": q}
    return row | contest.measure(config, case, question, read=True)


def two_stage_row(config: ConfigDict, case: Case, q: int, pool: float) -> dict[str, Any]:
    """The two-stage search with pools of a target size."""
    codes, limit = case.queries_for(pool, q)
    question = TwoStageQuestion(case, codes, case.query_features[:q], limit, config.k)
    ours = question.ours(processes.cores())
    assert ours is not None
    size = ours().pool_size
    row = {
        "case": "two stages",
        "queries": q,
        "wanted": pool,
        "threshold": limit,
        "pool": float(np.median(size)),
        "largest_pool": int(size.max()),
    }
    # The gather reads and writes each row once, and the distances read it again.
    bytes_moved = 12.0 * case.dims * float(size.sum(dtype=np.int64))
    omit = ""
    if bytes_moved / 10e9 > config.longest_call_seconds:
        omit = f"it would move {bytes_moved / 1e9:.0f} GB a call"
    return row | contest.measure(config, case, question, omit=omit)


def single_queries(config: ConfigDict, case: Case) -> dict[str, Any]:
    """Percentiles of single, different queries with pools of about forty items."""
    _, limit = case.queries_for(40.0, QUERIES)

    def ask(i: int) -> None:
        one = slice(i % QUERIES, i % QUERIES + 1)
        search_lib.search(
            case.built, case.query_codes[one], case.query_features[one], threshold=limit, k=config.k
        )

    before = plans.programs()
    times = timing.percentiles(ask, calls=config.single_queries)
    return {
        "case": "single queries",
        "queries": 1,
        "threshold": limit,
        **times,
        "build_s": round(case.build_seconds, 2),
        "compilations": plans.programs() - before,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
