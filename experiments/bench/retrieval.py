"""What the search costs, against faiss; every answer is checked against the peer's first.

Called by `experiments.bench`. Leaves in the workdir bench.json, bench.md (the tables) and
bench.png, .pdf and .svg (time against the number of items, with the time to read the codes once).
About half an hour on two cores, with 24 GB of memory and 12 GB of disk.

Items are given in the order of their codes, so that the peer, too, reads a pool in one sweep.
Without --config.trained the cases of trained codes are left out, and said to be.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faiss
import jax
import matplotlib
import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from experiments.bench.peers import Maker, Peer, Selecting, check_search, octets
from inres.figures import style
from inres.retrieval import codes as codes_lib
from inres.retrieval import index as index_lib
from inres.retrieval import native, plans, sharded
from inres.retrieval import search as search_lib
from inres.system import files
from inres.system.progress import progress

QUERIES = 1024
"""Queries made for a case."""


class Case:
    """Items in our index and in the peer's, and queries."""

    def __init__(self, config: ConfigDict, kind: str, n: int, bits: int, dims: int, room: Path):
        items = Maker(config, kind, n, bits, dims)
        items.sort()
        self.bits, self.dims = items.bits, items.dims
        room.mkdir(parents=True, exist_ok=True)
        path = room / "features.npy"
        # On disk, since with our index and the sketch they may not fit in memory twice.
        wide = np.lib.format.open_memmap(path, "w+", np.float32, (n, items.dims))
        at = 0
        for rows in items.features():
            wide[at : at + len(rows)] = rows
            at += len(rows)
        begin = time.perf_counter()
        self.built = index_lib.build(items.codes, wide, bits=items.bits)
        jax.block_until_ready(self.built)
        self.build_seconds = time.perf_counter() - begin
        del wide
        path.unlink()
        self.codes = items.codes
        self.peer = Peer(items.codes, np.asarray(self.built.features)[:n], items.bits)
        queries = Maker(config, kind, QUERIES, bits, dims)
        self.query_codes, self.query_features = queries.codes, next(queries.features())

    def asked(self, pool: float, q: int) -> tuple[np.ndarray, int]:
        """The first `q` queries' codes, and the threshold for a wanted pool.

        Of an empty pool they are turned to their complements: far from everything, but looked for
        among all codes.
        """
        queries = self.query_codes[:q]
        if pool == 0:
            return codes_lib.pack(~codes_lib.unpack(queries, self.bits)), 1
        return queries, threshold_for(pool, self.codes, queries, self.bits)


def threshold_for(pool: float, codes: np.ndarray, queries: np.ndarray, bits: int) -> int:
    """The threshold for a wanted pool, from a sample of items and queries."""
    sample = codes[:: max(1, len(codes) >> 17)]
    distance = np.bitwise_count(queries[:32, None] ^ sample[None]).sum(-1)
    share = np.cumsum(np.bincount(distance.ravel(), minlength=bits + 1)) / distance.size
    want = pool if pool < 1 else pool / len(codes)
    return min(bits, int(np.searchsorted(share, want))) + 1


def read_once(packed: np.ndarray) -> Any:
    """A call that reads the codes on all cores and does nothing with them but add."""
    cores = native.threads()
    parts = np.array_split(packed.reshape(-1).view(np.uint64), cores)
    pool = concurrent.futures.ThreadPoolExecutor(cores)
    return lambda: list(pool.map(np.add.reduce, parts))


def seconds_of(call: Any) -> float:
    """One call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def compare(config: ConfigDict, rivals: dict[str, Any]) -> dict[str, Any]:
    """Times of rivals in turn, and the ratio of the peer's to ours."""
    once = sum(seconds_of(call) for call in rivals.values())
    rounds = int(np.clip(config.case_seconds / max(once, config.round_seconds), 3, config.rounds))
    times = timing.interleaved(rivals, rounds=rounds, round_seconds=config.round_seconds)
    row: dict[str, Any] = {name: measured.summary() for name, measured in times.items()}
    return row | {"ratio": round(times["peer"].median / times["ours"].median, 3)}


def measure(config: ConfigDict, sweep: ConfigDict, point: tuple, room: Path) -> list[dict]:
    """All figures of one data set."""
    kind, n, bits, dims = point
    case = Case(config, kind, n, bits, dims, room)
    built, peer, k = case.built, case.peer, config.k
    base = {"codes": kind, "items": n, "bits": case.bits, "dims": case.dims, "k": k}
    rows: list[dict] = []
    reading = read_once(np.asarray(built.codes))
    for q in sweep.queries:
        codes, features = case.query_codes[:q], case.query_features[:q]
        _, distance = search_lib.search_hamming(built, codes, k=k)
        expected, _ = peer.top_k(codes, k)
        np.testing.assert_array_equal(distance, expected)
        rivals = {
            "ours": lambda c=codes: search_lib.search_hamming(built, c, k=k),
            "peer": lambda c=codes: peer.top_k(c, k),
            "read": reading,
        }
        rows.append(base | {"case": "hamming top-k", "queries": q} | compare(config, rivals))
        for pool in sweep.pools:
            codes, limit = case.asked(pool, q)
            result = search_lib.search(built, codes, features, threshold=limit, k=k)
            row = base | {
                "case": "two stages", "queries": q, "wanted": pool, "threshold": limit,
                "pool": float(np.median(result.pool_size)),
                "largest_pool": int(result.pool_size.max()),
            }  # fmt: skip
            # A gather reads and writes a row, and the distances read it again.
            bytes_moved = 12.0 * case.dims * float(result.pool_size.sum(dtype=np.int64))
            if bytes_moved / 10e9 > config.longest_call_seconds:
                rows.append(row | {"left_out": f"the peer moves {bytes_moved / 1e9:.0f} GB a call"})
                continue
            check_search(result, peer.search(codes, features, limit, k))
            rivals = {
                "ours": lambda c=codes, f=features, t=limit: search_lib.search(
                    built, c, f, threshold=t, k=k
                ),
                "peer": lambda c=codes, f=features, t=limit: peer.search(c, f, t, k),
            }
            rows.append(row | compare(config, rivals))
    if 1 in sweep.queries:
        rows.append(base | single_queries(config, case))
    if n == config.context_items and (bits, dims) == (64, 256):
        rows += [base | row for row in context(config, case)]
    return rows


def single_queries(config: ConfigDict, case: Case) -> dict[str, Any]:
    """Percentiles of single queries, each another, with pools of about forty."""
    _, limit = case.asked(40.0, QUERIES)

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
    """What else faiss offers: a selection instead of a gather, and approximate binary indexes."""
    k, codes, features = config.k, case.query_codes[:64], case.query_features[:64]
    selecting = Selecting(case.peer)
    for q in (1, 64):
        asked, limit = case.asked(0.01, q)
        queries = asked, features[:q]
        rivals: dict[str, Any] = {
            "ours": functools.partial(
                search_lib.search, case.built, *queries, threshold=limit, k=k
            ),
            "peer": functools.partial(selecting.search, *queries, limit, k),
        }
        row = {"case": "two stages, faiss ID selector", "queries": q, "wanted": 0.01}
        yield row | compare(config, rivals) | {"recall": 1.0}
    exact = case.peer.top_k(codes, k)[0][:, -1:]
    width = 8 * -(-case.bits // 8)
    ivf = faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(width), width, 256)
    ivf.nprobe = 16
    ivf.train(octets(case.codes, case.bits))
    hnsw = faiss.IndexBinaryHNSW(width, 16)
    for name, index in (("IndexBinaryIVF, 16 of 256 lists", ivf), ("IndexBinaryHNSW, 16", hnsw)):
        index.add(octets(case.codes, case.bits))
        found, _ = index.search(octets(codes, case.bits), k)
        for q in (1, 64):
            rivals = {
                "ours": lambda q=q: search_lib.search_hamming(case.built, codes[:q], k=k),
                "peer": functools.partial(index.search, octets(codes[:q], case.bits), k),
            }
            row = {"case": f"hamming top-k, {name}", "queries": q}
            # By distance, so that ties are fair.
            recall = round(float((found <= exact).mean()), 4)
            yield row | compare(config, rivals) | {"recall": recall}


def measure_devices(config: ConfigDict) -> list[dict]:
    """The sharded programs over the devices of this process."""
    mesh = sharded.make_mesh()
    rows = []
    for kind in config.devices.codes:
        n, k = config.devices.size, config.k
        items = Maker(config, kind, n, 64, 256)
        wide = np.concatenate(list(items.features()))
        built = sharded.build(items.codes, wide, bits=64, mesh=mesh)
        for q, pool in itertools.product((1, 64), (40.0, 0.1)):
            limit = threshold_for(pool, items.codes, items.codes[:q], 64)
            queries = (items.codes[:q], wide[:q] + np.float32(0.1))

            ask = functools.partial(
                sharded.search, built, *queries, mesh=mesh, threshold=limit, k=k
            )
            compile_seconds = seconds_of(ask)
            size = float(np.median(ask().pool_size))
            times = timing.interleaved(
                {"ours": ask}, rounds=config.rounds, round_seconds=config.round_seconds
            )
            rows.append(
                {
                    "case": "sharded", "codes": kind, "items": n, "bits": 64, "dims": 256, "k": k,
                    "queries": q, "devices": mesh.size, "pool": size,
                    "ours": times["ours"].summary(), "compile_s": round(compile_seconds, 1),
                    "bytes_a_query_and_device": sharded.bytes_exchanged(k=k),
                }
            )  # fmt: skip
    return rows


def run_devices(config: ConfigDict, workdir: Path) -> list[dict]:
    """`measure_devices` in processes of their own, one for each number of devices."""
    rows = []
    for count in config.devices.counts:
        environment = {
            **os.environ,
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}",
            "JAX_PLATFORMS": "cpu",
        }
        # The same flags again, and which part of it.
        command = [sys.executable, "-m", "experiments.bench", *sys.argv[1:], f"--devices={count}"]
        subprocess.run(command, env=environment, check=True)
        rows += files.read_json(workdir / f"devices-{count}.json")
    return rows


def markdown(columns: tuple[str, ...], rows: list[tuple]) -> list[str]:
    """Lines of a table."""
    cells = [columns, ("---",) * len(columns), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]


def _milliseconds(timing: dict[str, Any]) -> str:
    return f"{timing['ms']:.4g}" + (" (disturbed)" if timing["disturbed"] else "")


def table(rows: list[dict]) -> str:
    """The figures as Markdown."""
    names = ("codes", "items", "bits", "dims", "queries", "case")
    paired = [
        (
            *(r[name] for name in names),
            f"{r['pool']:.0f}" if "pool" in r else "",
            *(
                (_milliseconds(r["ours"]), _milliseconds(r["peer"]), f"{r['ratio']:.3g}")
                if "ratio" in r
                else ("", "", r["left_out"])
            ),
            r.get("recall", ""),
        )
        for r in rows
        if "ratio" in r or "left_out" in r
    ]
    single = (
        "codes", "items", "bits", "dims",
        "p50_ms", "p95_ms", "p99_ms", "build_s", "compilations", "peak_gib",
    )  # fmt: skip
    shards = (
        "codes", "items", "queries", "devices", "pool", "ms", "compile_s",
        "bytes_a_query_and_device",
    )  # fmt: skip
    return "\n".join(
        [
            *markdown((*names, "pool", "ours ms", "faiss ms", "faiss / ours", "recall"), paired),
            "",
            "Single queries with pools of about forty",
            "",
            *markdown(single, [tuple(r[n] for n in single) for r in rows if "p50_ms" in r]),
            "",
            "The jitted programs, sharded",
            "",
            *markdown(
                shards,
                [
                    tuple(({**r, "ms": _milliseconds(r["ours"])})[n] for n in shards)
                    for r in rows
                    if r["case"] == "sharded"
                ],
            ),
            "",
            "Cost of a query as items grow tenfold (ours, one query, ms)",
            "",
            *markdown(*growth(rows)),
            "",
        ]
    )


def of_base(rows: list[dict]) -> list[dict]:
    """Compared cases of 64 bits and 256 features, or of the trained network's."""
    compared = [r for r in rows if "ratio" in r]
    return [r for r in compared if (r["bits"], r["dims"]) == (64, 256) or r["codes"] == "trained"]


def growth(rows: list[dict]) -> tuple[tuple[str, ...], list[tuple]]:
    """Time of one query by kind and pool, a column a number of items."""
    chosen = [r for r in of_base(rows) if r["queries"] == 1]
    chosen = [r for r in chosen if r["case"] in ("hamming top-k", "two stages")]
    sizes = sorted({r["items"] for r in chosen})
    lines: dict[tuple, dict[int, str]] = {}
    for r in chosen:
        key = (r["codes"], r["case"], r.get("wanted", ""))
        lines.setdefault(key, {})[r["items"]] = _milliseconds(r["ours"])
    head = ("codes", "case", "wanted pool", *(f"{n:.0e}" for n in sizes))
    return head, [(*key, *(line.get(n, "") for n in sizes)) for key, line in lines.items()]


def plot(rows: list[dict], stem: Path) -> None:
    """Time against the number of items: Hamming search, and both stages at a tenth of the items."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    base = of_base(rows)
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained", sharey=True)
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]

    def line(axes, chosen, name, dash, label, colour):
        chosen = sorted(chosen, key=lambda r: r["items"])
        points = [(r["items"], r[name]["ms"]) for r in chosen if name in r]
        if points:
            axes.plot(*zip(*points, strict=True), dash, label=label, color=colour)

    for colour, q in zip(colours, (1, 64), strict=False):
        mine = [r for r in base if r["case"] == "hamming top-k" and r["codes"] == "uniform"]
        mine = [r for r in mine if r["queries"] == q]
        batch = "one query" if q == 1 else f"{q} queries"
        line(panels[0], mine, "ours", "o-", f"inres, {batch}", colour)
        line(panels[0], mine, "peer", "s--", f"faiss, {batch}", colour)
        if q == 1:
            line(panels[0], mine, "read", ":", "reading the codes once", "black")
    for colour, kind in zip(colours, ("uniform", "clustered-8", "trained"), strict=False):
        mine = [r for r in base if r["case"] == "two stages" and r["codes"] == kind]
        mine = [r for r in mine if r["queries"] == 1 and r["wanted"] == 0.1]
        line(panels[1], mine, "ours", "o-", f"inres, {kind}", colour)
        line(panels[1], mine, "peer", "s--", f"faiss, {kind}", colour)
    panels[0].set(title="Top 100 by Hamming distance, 64 bits", ylabel="milliseconds a call")
    panels[1].set(title="Both stages, one query, pool a tenth of the items")
    for axes in panels:
        axes.set(xscale="log", yscale="log", xlabel="items")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    style.save(figure, stem)
    plt.close(figure)


def run(config: ConfigDict, workdir: Path, devices: int = 0) -> None:
    """Measure every case; results so far are written after each.

    With `devices`, that many devices of this process are measured and nothing else.
    """
    faiss.cvar.distance_compute_blas_threshold = 20
    if devices:
        files.write_json(workdir / f"devices-{devices}.json", measure_devices(config))
        return
    points = [
        (config.sweeps[name], point)
        for name in config.run
        if name != "devices"
        for point in itertools.product(
            *(config.sweeps[name][field] for field in ("codes", "sizes", "bits", "dims"))
        )
    ]
    if not config.trained:
        print("trained codes are left out: name an index on disk by --config.trained")
        points = [(sweep, point) for sweep, point in points if point[0] != "trained"]
    environment = {
        "jax": jax.__version__,
        "faiss": faiss.__version__,
        "faiss_options": faiss.get_compile_options().strip(),
        "faiss_threads": faiss.omp_get_max_threads(),
        "kernel_level": None if native.kernel() is None else native.level(),
        "devices": [str(device) for device in jax.devices()],
        "cores": len(os.sched_getaffinity(0)),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
    rows: list[dict] = []

    def write() -> None:
        files.write_json(
            workdir / "bench.json",
            {"environment": environment, "config": json.loads(config.to_json()), "rows": rows},
        )
        files.write_text(workdir / "bench.md", table(rows))

    for sweep, point in progress(points, name="cases"):
        rows += measure(config, sweep, point, workdir)
        write()
    if "devices" in config.run:
        rows += run_devices(config, workdir)
        write()
    plot(rows, workdir / "bench")
    print(table(rows))
    print(*(workdir / name for name in ("bench.json", "bench.md", "bench.png")), sep="\n")
