"""Time the index on disk, and tell what features of half precision cost the ranking.

    python -m experiments.bench.store --config=experiments/configs/bench_store.py \\
        --workdir=runs/bench_store --config.trained=runs/phantom/index/archive

Leaves in the workdir bench_store.json and bench_store.md. About 2 minutes on two cores. Memory is
what a step adds to the process at its highest, files mapped into it left out (Linux alone tells).
Before an opening that is called cold, the system is asked to forget the index's pages.
"""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from absl import app, flags
from ml_collections import config_flags

from inres.evaluation import agreement
from inres.retrieval import codes as codes_lib
from inres.storage import shards, store, updates
from inres.system import files
from inres.system.progress import progress

CONFIG = config_flags.DEFINE_config_file("config", None, "The cases.")
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the results.")
BLOCK = 1 << 14
RANKS = (10, 100)
STEPS = {
    "save": "s",
    "open": "ms",
    "open_cold": "ms",
    "verify": "s",
    "remove": "s",
    "open_removed": "ms",
    "column": "s",
    "where": "s",
    "records": "ms",
    "add": "s",
    "compact": "s",
}


class Memory:
    """Samples how much memory this process has for itself, while it is entered."""

    def __enter__(self) -> "Memory":
        self._done = threading.Event()
        self._first = self._peak = self._now()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.01):
            self._peak = max(self._peak, self._now())

    @staticmethod
    def _now() -> int:
        try:
            text = Path("/proc/self/status").read_text(encoding="ascii")
        except OSError:
            return 0
        return 1024 * int(text.split("RssAnon:")[1].split()[0])

    @property
    def added_mib(self) -> float:
        """The most that was added since it was entered."""
        return (self._peak - self._first) / 2**20


def features_in_blocks(config: Any, n: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Codes and features of n items, block by block: trained ones tiled with noise, or gaussians.

    Both have the neighbourhoods of an archive, unlike one gaussian alone.
    """
    rng = np.random.default_rng(config.seed)
    if config.trained:
        stored = store.load(config.trained, verify=True)
        middle = np.asarray(stored.features, np.float32)
        codes, flips, noise = codes_lib.unpack(stored.codes, stored.bits), 0.005, 0.1
        width: np.ndarray | np.float32 = noise * middle.std(axis=0)
    else:
        middle = 2 * rng.standard_normal((config.centres, config.dims), dtype=np.float32)
        codes, flips, width = rng.random((config.centres, config.bits)) < 0.5, 0.05, np.float32(1)
    for start in range(0, n, BLOCK):
        rows = rng.integers(0, len(middle), min(BLOCK, n - start))
        wide = rng.standard_normal((len(rows), middle.shape[1]), dtype=np.float32)
        wide *= width
        wide += middle[rows]
        flipped = rng.random((len(rows), codes.shape[1]), dtype=np.float32) < flips
        yield codes_lib.pack(codes[rows] ^ flipped), wide


def make_items(config: Any, n: int, path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Codes, features and columns of records; the features stay in the file `path`."""
    packed, wide, done = None, None, 0
    for codes, block in features_in_blocks(config, n):
        if packed is None or wide is None:
            packed = np.empty((n, codes.shape[1]), np.uint32)
            wide = np.lib.format.open_memmap(path, "w+", np.float32, (n, block.shape[1]))
        packed[done : done + len(block)] = codes
        wide[done : done + len(block)] = block
        done += len(block)
    assert packed is not None
    assert wide is not None
    wide.flush()
    rng = np.random.default_rng(config.seed)
    scans = [f"scan-{i:07d}" for i in range(n // 50 + 1)]
    columns = {
        "scan": [scans[i // 50] for i in range(n)],
        "label": rng.integers(0, 8, n, dtype=np.int32),
        "diameter_mm": rng.uniform(3, 30, n),
    }
    return packed, np.load(path, mmap_mode="r"), columns


def forget_pages(path: Path) -> None:
    """Ask the system to drop what it holds of the index's files."""
    os.sync()
    for file in path.iterdir():
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def storage(config: Any, n: int, dtype: str, items: tuple, path: Path) -> dict[str, Any]:
    """Seconds and memory of each step in the life of an index of n items."""
    packed, wide, columns = items
    bits = store.load(config.trained).bits if config.trained else config.bits
    rng = np.random.default_rng(config.seed)
    gone = rng.choice(n, int(config.removed * n), replace=False)
    more = slice(0, int(config.added * n))
    few = rng.choice(np.setdiff1d(np.arange(n), gone), 1000)
    row: dict[str, Any] = {"items": n, "dtype": dtype, "seconds": {}, "added_mib": {}}

    def step(name: str, call: Callable[[], Any]) -> Any:
        with Memory() as memory:
            begin = time.perf_counter()
            result = call()
            row["seconds"][name] = round(time.perf_counter() - begin, 5)
        row["added_mib"][name] = round(memory.added_mib, 1)
        return result

    step("save", lambda: store.save(path, packed, wide, columns, bits=bits, model="", dtype=dtype))
    row["bytes"] = sum(file.stat().st_size for file in path.iterdir())
    row["feature_bytes"] = sum(file.stat().st_size for file in path.glob("features-*"))
    step("open", lambda: store.load(path))
    forget_pages(path)
    step("open_cold", lambda: store.load(path))
    step("verify", lambda: store.verify(path))
    step("remove", lambda: updates.remove(path, gone))
    opened = step("open_removed", lambda: store.load(path))
    step("column", lambda: opened.records.column("diameter_mm"))
    step("where", lambda: opened.records.where("diameter_mm BETWEEN ? AND ?", (5, 6)))
    step("records", lambda: opened.records.many(few))
    added = {name: values[more] for name, values in columns.items()}
    step("add", lambda: updates.add(path, packed[more], wide[more], added))
    step("compact", lambda: updates.compact(path))
    left = store.load(path, verify=True)
    if len(left) != n - len(gone) + len(packed[more]):
        raise AssertionError(f"{len(left)} items are left of {n}")
    return row


def distances(query: np.ndarray, features: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances by direct difference, float64 [N]."""
    difference = features - query
    return np.einsum("nd,nd->n", difference, difference)


def mean(values: list[float]) -> float | None:
    """The mean of those that are known, None where none is."""
    known = [value for value in values if value == value]
    return round(sum(known) / len(known), 5) if known else None


def rankings(config: Any, data: str, wide: np.ndarray, queries: np.ndarray, own: Any) -> list[dict]:
    """The change of the rankings of float32 queries by each other type of stored features.

    Args:
      config: names the types.
      data: what the features are, in words.
      wide: float32 [N, D].
      queries: float32 [Q, D].
      own: int [Q], the item that a query is, which is left out; -1: none.
    """
    exact = wide.astype(np.float64)
    rows = []
    for dtype in config.dtypes:
        stored = wide.astype(shards.feature_type(dtype)).astype(np.float64)
        changes: dict[int, list[dict[str, float]]] = {k: [] for k in RANKS}
        for query, self_ in zip(queries.astype(np.float64), own, strict=True):
            truth, found = distances(query, exact), distances(query, stored)
            if self_ >= 0:
                truth[self_] = found[self_] = np.inf
            for k in RANKS:
                changes[k].append(agreement.ranking_change(truth, found, k))
        for k, seen in changes.items():
            means = {name: mean([one[name] for one in seen]) for name in seen[0]}
            rows.append(
                {
                    "data": data,
                    "items": len(wide),
                    "queries": len(queries),
                    "dtype": dtype,
                    "k": k,
                    **means,
                    "largest_displacement": int(max(one["displacement"] for one in seen)),
                    "bytes_an_item": stored.shape[1] * shards.feature_type(dtype).itemsize,
                }
            )
    return rows


def all_rankings(config: Any) -> list[dict]:
    """On the trained features as they are, and on features tiled to size."""
    rng = np.random.default_rng(config.seed + 1)
    rows = []
    if config.trained:
        wide = np.asarray(store.load(config.trained).features, np.float32)
        own = rng.choice(len(wide), min(config.ranked_queries, len(wide)), replace=False)
        rows += rankings(config, "trained", wide, wide[own], own)
    n, q = config.ranked_items, config.ranked_queries
    wide = np.concatenate([block for _, block in features_in_blocks(config, n + q)])
    name = "trained, tiled with noise" if config.trained else "clustered gaussians"
    return rows + rankings(config, name, wide[:n], wide[n:], np.full(q, -1))


def markdown(columns: tuple[str, ...], rows: list[tuple]) -> list[str]:
    """Lines of a table."""
    cells = [columns, ("---",) * len(columns), *rows]
    return ["| " + " | ".join(map(str, row)) + " |" for row in cells]


def table(storage_rows: list[dict], ranking_rows: list[dict]) -> str:
    """The figures as Markdown."""
    scale = {"s": 1, "ms": 1000}
    steps = [f"{name.replace('_', ' ')} {unit}" for name, unit in STEPS.items()]
    lives = [
        (
            f"{r['items']:,}",
            r["dtype"],
            f"{r['bytes'] / 1e9:.3g}",
            *(f"{scale[unit] * r['seconds'][name]:.3g}" for name, unit in STEPS.items()),
            f"{max(r['added_mib'].values()):.0f}",
        )
        for r in storage_rows
    ]
    names = tuple(ranking_rows[0]) if ranking_rows else ()
    return "\n".join(
        [
            *markdown(("items", "features", "GB", *steps, "memory MiB"), lives),
            "",
            *markdown(names, [tuple(r.values()) for r in ranking_rows]),
            "",
        ]
    )


def main(argv: list[str]) -> None:
    """Measure every case; results so far are written after each."""
    del argv
    config, workdir = CONFIG.value, Path(str(WORKDIR.value))
    scratch = workdir / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    lives: list[dict] = []
    ranks: list[dict] = []

    def write() -> None:
        result = {"config": json.loads(config.to_json()), "storage": lives, "rankings": ranks}
        files.write_json(workdir / "bench_store.json", {"cores": os.cpu_count(), **result})
        files.write_text(workdir / "bench_store.md", table(lives, ranks))

    try:
        ranks += all_rankings(config)
        write()
        for n in config.sizes:
            items = make_items(config, n, scratch / "source.npy")
            for dtype in progress(config.dtypes, name=f"{n} items"):
                lives.append(storage(config, n, dtype, items, scratch / "index"))
                shutil.rmtree(scratch / "index")
                write()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(table(lives, ranks))
    print(workdir / "bench_store.json", workdir / "bench_store.md", sep="\n")


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main)
