"""Times of the search against faiss; every answer is first compared with faiss's.

Called by `experiments.bench`. Writes to the workdir bench.json, bench.md (tables) and bench.png,
.pdf and .svg (time against the number of items, with the time to read the codes once). Takes about
half an hour on two cores, 24 GB of memory and 12 GB of disk.

Items are sorted by code, so that faiss also reads a pool in one sweep. Without `config.trained` the
cases with trained codes are skipped, and a message says so.
"""

import concurrent.futures
import functools
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import faiss
import jax
import numpy as np
from ml_collections import ConfigDict

from experiments.bench import retrieval_report, timing
from experiments.bench.peers import Peer, SelectingPeer, check_search, octets
from experiments.bench.random_items import RandomItems
from inres.retrieval import codes as codes_lib
from inres.retrieval import index as index_lib
from inres.retrieval import native, plans, sharded
from inres.retrieval import search as search_lib
from inres.system import files, processes
from inres.system.progress import progress

QUERIES = 1024
"""Queries generated for each case."""
Point = tuple[str, int, int, int]
"""Kind of items, their number, bits and dims."""


def compare_with_faiss(config: ConfigDict, workdir: Path, *, devices: int = 0) -> None:
    """Measure every case; results are written after each one.

    With `devices`, only the sharded search on that many devices of this process is measured.
    """
    faiss.cvar.distance_compute_blas_threshold = 20
    if devices:
        files.write_json(workdir / f"devices-{devices}.json", measure_devices(config))
        return
    environment = describe_environment()
    rows: list[dict[str, Any]] = []

    def write() -> None:
        files.write_json(
            workdir / "bench.json",
            {"environment": environment, "config": json.loads(config.to_json()), "rows": rows},
        )
        files.write_text(workdir / "bench.md", retrieval_report.tables_of(rows))

    for sweep, point in progress(points(config), name="cases"):
        rows += measure_point(config, sweep, point, workdir)
        write()
    if "devices" in config.run:
        rows += run_devices(config, workdir)
        write()
    retrieval_report.plot(rows, workdir / "bench")
    print(retrieval_report.tables_of(rows))
    print(*(workdir / name for name in ("bench.json", "bench.md", "bench.png")), sep="\n")


def describe_environment() -> dict[str, Any]:
    """Versions and hardware behind the times."""
    return {
        "jax": jax.__version__,
        "faiss": faiss.__version__,
        "faiss_options": faiss.get_compile_options().strip(),
        "faiss_threads": faiss.omp_get_max_threads(),
        "kernel_level": None if native.kernel() is None else native.level(),
        "devices": [str(device) for device in jax.devices()],
        "cores": processes.cores(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def points(config: ConfigDict) -> list[tuple[ConfigDict, Point]]:
    """The selected sweeps with each of their points."""
    found = [
        (config.sweeps[name], point)
        for name in config.run
        if name != "devices"
        for point in itertools.product(
            *(config.sweeps[name][field] for field in ("codes", "sizes", "bits", "dims"))
        )
    ]
    if not config.trained:
        print("trained codes are skipped: set config.trained to an index on disk")
        found = [(sweep, point) for sweep, point in found if point[0] != "trained"]
    return found


class Case:
    """Items in our index and in faiss, and queries."""

    def __init__(self, config: ConfigDict, point: Point, scratch: Path):
        kind, n, bits, dims = point
        make = functools.partial(
            RandomItems, kind, bits=bits, dims=dims, seed=config.seed, trained=config.trained
        )
        items = make(n)
        items.sort()
        self.bits, self.dims = items.bits, items.dims
        scratch.mkdir(parents=True, exist_ok=True)
        path = scratch / "features.npy"
        # On disk: next to our index and its sketch they may not fit in memory a second time.
        wide = items.write_features(path)
        begin = time.perf_counter()
        self.built = index_lib.build(items.codes, wide, bits=items.bits)
        jax.block_until_ready(self.built)
        self.build_seconds = time.perf_counter() - begin
        del wide
        path.unlink()
        self.codes = items.codes
        self.read = read_once(np.asarray(self.built.codes))
        self.peer = Peer(items.codes, np.asarray(self.built.features)[:n], items.bits)
        queries = make(QUERIES)
        self.query_codes, self.query_features = queries.codes, next(queries.features())

    def queries_for(self, pool: float, q: int) -> tuple[np.ndarray, int]:
        """Codes of the first `q` queries and the threshold for a target pool size.

        For an empty pool the codes are complemented: far from all items, yet all are scanned.
        """
        queries = self.query_codes[:q]
        if pool == 0:
            return codes_lib.pack(~codes_lib.unpack(queries, self.bits)), 1
        return queries, threshold_for(pool, self.codes, queries, self.bits)


def threshold_for(pool: float, codes: np.ndarray, queries: np.ndarray, bits: int) -> int:
    """The threshold for a target pool size, estimated from a sample of items and queries.

    A target below 1 is a share of the items.
    """
    sample = codes[:: max(1, len(codes) >> 17)]
    distance = np.bitwise_count(queries[:32, None] ^ sample[None]).sum(-1)
    share = np.cumsum(np.bincount(distance.ravel(), minlength=bits + 1)) / distance.size
    target = pool if pool < 1 else pool / len(codes)
    return min(bits, int(np.searchsorted(share, target))) + 1


def measure_point(
    config: ConfigDict, sweep: ConfigDict, point: Point, scratch: Path
) -> list[dict[str, Any]]:
    """All rows of one set of items."""
    kind, n, bits, dims = point
    case = Case(config, point, scratch)
    base = {"codes": kind, "items": n, "bits": case.bits, "dims": case.dims, "k": config.k}
    rows: list[dict[str, Any]] = []
    for q in sweep.queries:
        rows.append(hamming_row(config, case, q))
        rows += [two_stage_row(config, case, q, pool) for pool in sweep.pools]
    if 1 in sweep.queries:
        rows.append(single_queries(config, case))
    if n == config.context_items and (bits, dims) == (64, 256):
        rows += context(config, case)
    return [base | row for row in rows]


def hamming_row(config: ConfigDict, case: Case, q: int) -> dict[str, Any]:
    """The K nearest codes: ours, faiss, and reading the codes once."""
    codes, k = case.query_codes[:q], config.k
    _, distance = search_lib.search_hamming(case.built, codes, k=k)
    expected, _ = case.peer.top_k(codes, k)
    np.testing.assert_array_equal(distance, expected)
    rivals = {
        "ours": functools.partial(search_lib.search_hamming, case.built, codes, k=k),
        "peer": functools.partial(case.peer.top_k, codes, k),
        "read": case.read,
    }
    return {"case": "hamming top-k", "queries": q} | compare(config, rivals)


def two_stage_row(config: ConfigDict, case: Case, q: int, pool: float) -> dict[str, Any]:
    """The two-stage search with pools of a target size."""
    features, k = case.query_features[:q], config.k
    codes, limit = case.queries_for(pool, q)
    ours = functools.partial(search_lib.search, case.built, codes, features, threshold=limit, k=k)
    result = ours()
    row = {
        "case": "two stages",
        "queries": q,
        "wanted": pool,
        "threshold": limit,
        "pool": float(np.median(result.pool_size)),
        "largest_pool": int(result.pool_size.max()),
    }
    # The gather of faiss reads and writes each row once, and the distances read it again.
    bytes_moved = 12.0 * case.dims * float(result.pool_size.sum(dtype=np.int64))
    if bytes_moved / 10e9 > config.longest_call_seconds:
        return row | {"left_out": f"the peer moves {bytes_moved / 1e9:.0f} GB a call"}
    peer = functools.partial(case.peer.search, codes, features, limit, k)
    check_search(result, peer())
    return row | compare(config, {"ours": ours, "peer": peer})


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


def context(config: ConfigDict, case: Case) -> Iterator[dict[str, Any]]:
    """Alternatives in faiss: a selector instead of a gather, and approximate binary indexes."""
    selecting = SelectingPeer(case.peer)
    for q in (1, 64):
        codes, limit = case.queries_for(0.01, q)
        features = case.query_features[:q]
        rivals = {
            "ours": functools.partial(
                search_lib.search, case.built, codes, features, threshold=limit, k=config.k
            ),
            "peer": functools.partial(selecting.search, codes, features, limit, config.k),
        }
        row = {"case": "two stages, faiss ID selector", "queries": q, "wanted": 0.01}
        yield row | compare(config, rivals) | {"recall": 1.0}
    width = 8 * -(-case.bits // 8)
    ivf = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(width), width, 256)
    ivf.nprobe = 16
    ivf.train(octets(case.codes, case.bits))
    hnsw = faiss.IndexBinaryHNSW(width, 16)
    for name, index in (("IndexBinaryIVF, 16 of 256 lists", ivf), ("IndexBinaryHNSW, 16", hnsw)):
        yield from approximate_rows(config, case, name, index)


def approximate_rows(
    config: ConfigDict, case: Case, name: str, index: Any
) -> Iterator[dict[str, Any]]:
    """An approximate binary index of faiss: its times and its recall."""
    codes, k = case.query_codes[:64], config.k
    exact = case.peer.top_k(codes, k)[0][:, -1:]
    index.add(octets(case.codes, case.bits))
    found, _ = index.search(octets(codes, case.bits), k)
    # Recall by distance threshold, so that ties are fair.
    recall = round(float((found <= exact).mean()), 4)
    for q in (1, 64):
        rivals = {
            "ours": functools.partial(search_lib.search_hamming, case.built, codes[:q], k=k),
            "peer": functools.partial(index.search, octets(codes[:q], case.bits), k),
        }
        row = {"case": f"hamming top-k, {name}", "queries": q}
        yield row | compare(config, rivals) | {"recall": recall}


def compare(config: ConfigDict, rivals: Mapping[str, Any]) -> dict[str, Any]:
    """Times of the rivals, and the time of the peer divided by ours."""
    once = sum(timing.seconds_of(call) for call in rivals.values())
    rounds = int(np.clip(config.case_seconds / max(once, config.round_seconds), 3, config.rounds))
    times = timing.interleaved(rivals, rounds=rounds, round_seconds=config.round_seconds)
    row: dict[str, Any] = {name: measured.summary() for name, measured in times.items()}
    return row | {"ratio": round(times["peer"].median / times["ours"].median, 3)}


def read_once(packed: np.ndarray) -> Callable[[], Any]:
    """A function that reads the codes on all cores and does nothing but add them up."""
    cores = native.threads()
    parts = np.array_split(packed.reshape(-1).view(np.uint64), cores)
    pool = concurrent.futures.ThreadPoolExecutor(cores)
    return lambda: list(pool.map(np.add.reduce, parts))


def measure_devices(config: ConfigDict) -> list[dict[str, Any]]:
    """Rows of the sharded search over the devices of this process."""
    mesh = sharded.make_mesh()
    rows = []
    n, k, bits, dims = config.devices.size, config.k, 64, 256
    for kind in config.devices.codes:
        items = RandomItems(kind, n, bits=bits, dims=dims, seed=config.seed, trained=config.trained)
        wide = np.concatenate(list(items.features()))
        built = sharded.build(items.codes, wide, bits=bits, mesh=mesh)
        for q, pool in itertools.product((1, 64), (40.0, 0.1)):
            limit = threshold_for(pool, items.codes, items.codes[:q], bits)
            queries = (items.codes[:q], wide[:q] + np.float32(0.1))
            ask = functools.partial(
                sharded.search, built, *queries, mesh=mesh, threshold=limit, k=k
            )
            compile_seconds = timing.seconds_of(ask)
            size = float(np.median(ask().pool_size))
            times = timing.interleaved(
                {"ours": ask}, rounds=config.rounds, round_seconds=config.round_seconds
            )
            rows.append(
                {
                    "case": "sharded", "codes": kind, "items": n, "bits": bits, "dims": dims,
                    "k": k, "queries": q, "devices": mesh.size, "pool": size,
                    "ours": times["ours"].summary(), "compile_s": round(compile_seconds, 1),
                    "bytes_a_query_and_device": sharded.bytes_exchanged(k=k),
                }
            )  # fmt: skip
    return rows


def run_devices(config: ConfigDict, workdir: Path) -> list[dict[str, Any]]:
    """Run `measure_devices` in a process of its own for each number of devices."""
    rows = []
    for count in config.devices.counts:
        environment = {
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
            "JAX_PLATFORMS": "cpu",
        }
        # The flags of this process, and the number of devices.
        command = [sys.executable, "-m", "experiments.bench", *sys.argv[1:], f"--devices={count}"]
        subprocess.run(command, env=environment, check=True)
        rows += files.read_json(workdir / f"devices-{count}.json")
    return rows
