"""Time the search against faiss on the same cores, every answer checked against the peer's first.

    XLA_FLAGS=--xla_cpu_prefer_vector_width=512 python -m experiments.bench \
        --config=experiments/configs/bench_retrieval.py --workdir=runs/bench

Leaves in the workdir bench.json, bench.md (the table) and bench.png (time against the number of
items, with the time to read the codes once). About 15 minutes on two cores. The flag is for
processors with 512-bit vectors. Run nothing else meanwhile: rounds in which other programs used
the processors are set aside, and a case without three quiet rounds is marked.
"""

import itertools
import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import faiss
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from inres import benchmark, files
from inres.progress import progress
from inres.retrieval import codes as codes_lib
from inres.retrieval import index as index_lib
from inres.retrieval import plans, store

CONFIG = config_flags.DEFINE_config_file("config", None, "The cases.")
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the results.")


def make_data(config: Any, kind: str, n: int, bits: int, dims: int) -> tuple[np.ndarray, ...]:
    """Codes and features of n items, and of as many queries as the largest batch has."""
    rng = np.random.default_rng(config.seed)
    q = max(*config.queries, config.single_queries)
    if kind == "trained":
        stored = store.load(config.trained)
        rows = rng.integers(0, len(stored), n + q)
        clean = codes_lib.unpack(np.asarray(stored.codes), stored.bits)
        features = np.asarray(stored.features, np.float32)
        noise = 0.1 * features.std(axis=0)
        wide = features[rows] + noise * rng.standard_normal((n + q, stored.dims), dtype=np.float32)
        flips = rng.random((n + q, stored.bits)) < 0.005
        packed = codes_lib.pack(clean[rows] ^ flips)
        return packed[:n], wide[:n], packed[n:], wide[n:]
    words = codes_lib.words(bits)
    wide = rng.standard_normal((n + q, dims), dtype=np.float32)
    if kind == "uniform":
        packed = rng.integers(0, 2**32, (n + q, words), dtype=np.uint32)
        if bits % 32:
            packed[:, -1] &= np.uint32((1 << bits % 32) - 1)
    else:
        centres = int(kind.removeprefix("clustered-"))
        which = rng.integers(0, centres, n + q)
        middle = codes_lib.pack(rng.random((centres, bits)) < 0.5)
        packed = middle[which]
        for start in range(0, n + q, 1 << 18):
            part = packed[start : start + (1 << 18)]
            part ^= codes_lib.pack(rng.random((len(part), bits), dtype=np.float32) < 0.05)
        wide += 2 * rng.standard_normal((centres, dims), dtype=np.float32)[which]
    return packed[:n], wide[:n], packed[n:], wide[n:]


def octets(packed: np.ndarray, bits: int) -> np.ndarray:
    """Codes as faiss wants them: bytes, a whole number of them an item."""
    return np.ascontiguousarray(packed.view(np.uint8)[:, : -(-bits // 8)])


class Peer:
    """faiss: binary range search, gather, exact distances, top-K."""

    def __init__(self, packed: np.ndarray, features: np.ndarray, bits: int):
        self.bits = bits
        self.features = features
        self.flat = faiss.IndexBinaryFlat(8 * -(-bits // 8))
        self.flat.add(octets(packed, bits))

    def top_k(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Hamming distances and ids."""
        return self.flat.search(octets(queries, self.bits), k)

    def search(self, queries: np.ndarray, wide: np.ndarray, threshold: int, k: int) -> list:
        """(squared distances, ids, pool size) of each query."""
        ends, _, ids = self.flat.range_search(octets(queries, self.bits), threshold)
        out = []
        for row in range(len(queries)):
            pool = ids[ends[row] : ends[row + 1]]
            if len(pool) == 0:
                out.append((np.zeros(0), pool, 0))
                continue
            square, place = faiss.knn(wide[row : row + 1], self.features[pool], min(k, len(pool)))
            out.append((square[0], pool[place[0]], len(pool)))
        return out


def check_search(result: index_lib.Result, expected: list) -> None:
    """Same pools and distances; ids may differ where the peer's sums round otherwise."""
    for row, (square, ids, size) in enumerate(expected):
        if result.pool_size[row] != size:
            raise AssertionError(f"query {row}: pool {result.pool_size[row]}, the peer has {size}")
        found = result.ids[row] >= 0
        distance = np.sqrt(np.maximum(square, 0))
        np.testing.assert_allclose(result.distance[row][found], distance, rtol=1e-3, atol=1e-2)
        if len(set(ids) - set(result.ids[row])) > max(1, len(ids) // 20):
            raise AssertionError(f"query {row}: the peer's neighbours are others")


def read_once(packed: jax.Array) -> Any:
    """A call that reads the codes and does nothing with them."""
    fold = jax.jit(lambda x: jnp.max(x, axis=(1, 2)))
    return lambda: fold(packed).block_until_ready()


def thresholds(config: Any, packed: np.ndarray, queries: np.ndarray, bits: int) -> dict:
    """The threshold for each wanted pool, from a sample of the items."""
    sample = packed[: 1 << 17]
    distance = np.bitwise_count(queries[:32, None] ^ sample[None]).sum(-1)
    share = np.cumsum(np.bincount(distance.ravel(), minlength=bits + 1)) / distance.size
    out = {}
    for pool in config.pools:
        want = pool if pool < 1 else pool / len(packed)
        out[pool] = 0 if pool == 0 else min(bits, int(np.searchsorted(share, want))) + 1
    return out


def measure(config: Any, kind: str, n: int, bits: int, dims: int) -> list[dict]:
    """All figures of one data set."""
    packed, wide, query_codes, query_wide = make_data(config, kind, n, bits, dims)
    bits = store.load(config.trained).bits if kind == "trained" else bits
    dims = wide.shape[1]
    begin = time.perf_counter()
    built = index_lib.build(packed, wide, bits=bits)
    jax.block_until_ready(built)
    build_s = time.perf_counter() - begin
    peer = Peer(packed, wide, bits)
    base = {"codes": kind, "items": n, "bits": bits, "dims": dims, "k": config.k}
    protocol = {"rounds": config.rounds, "round_seconds": config.round_seconds}
    rows: list[dict] = []

    def add(case: str, q: int, rivals: dict, **more: Any) -> None:
        times = benchmark.interleaved(rivals, **protocol)
        ours, theirs = times["ours"].median, times["peer"].median
        rows.append(
            {
                **base,
                "case": case,
                "queries": q,
                **more,
                "ratio": round(theirs / ours, 3),
                **{name: timing.summary() for name, timing in times.items()},
            }
        )

    reading = read_once(built.codes)
    for q in config.queries:
        codes, features = query_codes[:q], query_wide[:q]
        _, distance = index_lib.search_hamming(built, codes, k=config.k)
        expected, _ = peer.top_k(codes, config.k)
        np.testing.assert_array_equal(distance, expected)
        add(
            "hamming top-k",
            q,
            {
                "ours": lambda codes=codes: index_lib.search_hamming(built, codes, k=config.k),
                "peer": lambda codes=codes: peer.top_k(codes, config.k),
                "read": reading,
            },
        )
        for pool, threshold in thresholds(config, packed, query_codes, bits).items():
            result = index_lib.search(built, codes, features, threshold=threshold, k=config.k)
            check_search(result, peer.search(codes, features, threshold, config.k))
            add(
                "two stages",
                q,
                {
                    "ours": lambda c=codes, f=features, t=threshold: index_lib.search(
                        built, c, f, threshold=t, k=config.k
                    ),
                    "peer": lambda c=codes, f=features, t=threshold: peer.search(c, f, t, config.k),
                },
                threshold=threshold,
                wanted=pool,
                pool=float(np.median(result.pool_size)),
                largest_pool=int(result.pool_size.max()),
            )
    limit = thresholds(config, packed, query_codes, bits)[config.pools[1]]
    rows.append(
        {
            **base,
            "case": "single queries",
            "queries": 1,
            "threshold": limit,
            **benchmark.percentiles(
                lambda i: index_lib.search(
                    built,
                    query_codes[i : i + 1],
                    query_wide[i : i + 1],
                    threshold=limit,
                    k=config.k,
                ),
                calls=config.single_queries,
            ),
            "build_s": round(build_s, 2),
            "compilations": plans.programs(),
            "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        }
    )
    return rows


def markdown(columns: tuple[str, ...], rows: list[tuple]) -> list[str]:
    """Lines of a table."""
    cells = [columns, ("---",) * len(columns), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]


def table(rows: list[dict]) -> str:
    """The figures as Markdown."""
    names = ("codes", "items", "bits", "dims", "queries", "case")
    paired = [
        (
            *(r[name] for name in names),
            f"{r['pool']:.0f}" if "pool" in r else "",
            r["ours"]["ms"],
            r["peer"]["ms"],
            f"{r['ratio']}{' (disturbed)' if r['ours']['disturbed'] else ''}",
        )
        for r in rows
        if "ratio" in r
    ]
    single = ("codes", "items", "p50_ms", "p95_ms", "p99_ms", "build_s", "compilations", "peak_gib")
    return "\n".join(
        [
            *markdown(
                (*names, "pool", "ours ms", "faiss ms", "faiss / ours"),
                paired,
            ),
            "",
            *markdown(single, [tuple(r[n] for n in single) for r in rows if "p50_ms" in r]),
            "",
        ]
    )


def plot(rows: list[dict], path: Path) -> None:
    """Time of one Hamming search against the number of items, and of reading the codes."""
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    chosen = [r for r in rows if r["case"] == "hamming top-k" and r["codes"] == rows[0]["codes"]]
    for q in sorted({r["queries"] for r in chosen}):
        mine = [r for r in chosen if r["queries"] == q and r["bits"] == chosen[0]["bits"]]
        mine = [r for r in mine if r["dims"] == chosen[0]["dims"]]
        items = [r["items"] for r in mine]
        for name, style in (("ours", "o-"), ("peer", "s--")):
            label = f"{'inres' if name == 'ours' else 'faiss'}, {q} queries"
            axes.plot(items, [r[name]["ms"] for r in mine], style, label=label)
        if q == min(r["queries"] for r in chosen):
            axes.plot(items, [r["read"]["ms"] for r in mine], "k:", label="reading the codes once")
    axes.set(xscale="log", yscale="log", xlabel="items", ylabel="ms a batch")
    axes.legend()
    with files.atomic_path(path) as part:
        figure.savefig(part, dpi=150)
    plt.close(figure)


def main(argv: list[str]) -> None:
    """Measure every case; results so far are written after each."""
    del argv
    faiss.cvar.distance_compute_blas_threshold = 20
    config, workdir = CONFIG.value, Path(str(WORKDIR.value))
    kinds = [*config.codes, *(["trained"] if config.trained else [])]
    cases = list(itertools.product(kinds, config.sizes, config.bits, config.dims))
    environment = {
        "jax": jax.__version__,
        "faiss": faiss.__version__,
        "faiss_options": faiss.get_compile_options().strip(),
        "faiss_threads": faiss.omp_get_max_threads(),
        "devices": [str(device) for device in jax.devices()],
        "cores": len(os.sched_getaffinity(0)),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
    rows: list[dict] = []
    for case in progress(cases, name="cases"):
        rows += measure(config, *case)
        files.write_json(
            workdir / "bench.json",
            {"environment": environment, "config": json.loads(config.to_json()), "rows": rows},
        )
        files.write_text(workdir / "bench.md", table(rows))
        plot(rows, workdir / "bench.png")
    print(table(rows))
    print(workdir / "bench.json", workdir / "bench.md", workdir / "bench.png", sep="\n")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
