"""Times of the index on disk, and the effect of half precision on the ranking.

Called by `experiments.bench`. Writes bench_store.json and bench_store.md to the workdir. Takes
about 2 minutes on two cores. The reported memory is the peak that a step adds to the process,
without mapped files (Linux only). Before a cold start the system is asked to drop the cached pages
of the index.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.bench import half_precision
from experiments.bench.random_items import RandomItems
from experiments.bench.retrieval_case import threshold_for
from inres.storage import store, updates
from inres.system import files, tables
from inres.system.progress import progress

STEPS = {
    "save": "s",
    "open": "ms",
    "open_cold": "ms",
    "first_query": "ms",
    "first_query_cold": "ms",
    "verify": "s",
    "remove": "s",
    "open_removed": "ms",
    "column": "s",
    "where": "s",
    "records": "ms",
    "add": "s",
    "add_1000": "s",
    "compact": "s",
}
"""The measured steps and the units of their times in the table."""

QUERIED = (
    "pool", "process_ms", "import_ms", "open_ms", "first_ms", "p50_ms", "p99_ms", "RssAnon_mib",
    "VmHWM_mib",
)  # fmt: skip
"""Columns of the table of searches on disk (`first_query`)."""


def measure_store(config: ConfigDict, workdir: Path) -> None:
    """Measure every case; results are written after each one."""
    scratch = workdir / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    lives: list[dict[str, Any]] = []
    ranks: list[dict[str, Any]] = []

    def write() -> None:
        result = {"config": json.loads(config.to_json()), "storage": lives, "rankings": ranks}
        files.write_json(workdir / "bench_store.json", {"cores": os.cpu_count(), **result})
        files.write_text(workdir / "bench_store.md", tables_of(lives, ranks))

    try:
        ranks += half_precision.all_rankings(
            config, random_items(config, config.ranked_items + config.ranked_queries)
        )
        write()
        for n in config.sizes:
            items = Items(config, n, scratch / "source.npy")
            for dtype in progress(config.dtypes, name=f"{n} items"):
                lives.append(measure_life(config, dtype, items, scratch / "index"))
                shutil.rmtree(scratch / "index")
                write()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(tables_of(lives, ranks))
    print(workdir / "bench_store.json", workdir / "bench_store.md", sep="\n")


def random_items(config: ConfigDict, n: int) -> RandomItems:
    """Trained items tiled with noise, or clusters: both have the neighbourhoods of an archive."""
    kind = "trained" if config.trained else f"clustered-{config.centres}"
    return RandomItems(
        kind, n, bits=config.bits, dims=config.dims, seed=config.seed, trained=config.trained
    )


class Items:
    """Codes, features and columns of records; the features stay in the file `path`."""

    def __init__(self, config: ConfigDict, n: int, path: Path):
        items = random_items(config, n)
        self.bits, self.codes = items.bits, items.codes
        self.features = items.write_features(path)
        rng = np.random.default_rng(config.seed)
        self.columns: dict[str, Any] = {"label": rng.integers(0, 8, n, dtype=np.int32)}
        if config.life:
            scans = [f"scan-{i:07d}" for i in range(n // 50 + 1)]
            self.columns |= {
                "scan": [scans[i // 50] for i in range(n)],
                "diameter_mm": rng.uniform(3, 30, n),
            }

    def __len__(self) -> int:
        return len(self.codes)


class Memory:
    """Samples the anonymous memory of this process inside a `with` block."""

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
        """Peak above the memory at the start of the block, in MiB."""
        return (self._peak - self._first) / 2**20


def measure_life(config: ConfigDict, dtype: str, items: Items, path: Path) -> dict[str, Any]:
    """Seconds and memory of each step in the life of an index, or of its searches alone."""
    n, rng = len(items), np.random.default_rng(config.seed)
    row: dict[str, Any] = {"items": n, "dtype": dtype, "seconds": {}, "added_mib": {}}

    def step(name: str, call: Callable[[], Any]) -> Any:
        with Memory() as memory:
            begin = time.perf_counter()
            result = call()
            row["seconds"][name] = round(time.perf_counter() - begin, 5)
        row["added_mib"][name] = round(memory.added_mib, 1)
        return result

    step(
        "save",
        lambda: store.save(
            path, items.codes, items.features, items.columns,
            bits=items.bits, model="", dtype=dtype, group="scan" if config.life else "",
            label="label",
        ),
    )  # fmt: skip
    row["bytes"] = sum(file.stat().st_size for file in path.iterdir())
    row["feature_bytes"] = sum(file.stat().st_size for file in path.glob("features-*"))
    step("open", lambda: store.load(path))
    forget_pages(path)
    step("open_cold", lambda: store.load(path))
    row["queries"] = queries_on_disk(config, items, path)
    row["seconds"]["first_query"] = row["queries"][0]["ready_ms"] / 1e3
    row["seconds"]["first_query_cold"] = row["queries"][1]["ready_ms"] / 1e3
    if not config.life:
        return row
    gone = rng.choice(n, int(config.removed * n), replace=False)
    more = slice(0, int(config.added * n))
    few = rng.choice(np.setdiff1d(np.arange(n), gone), 1000)
    step("verify", lambda: store.verify(path))
    step("remove", lambda: updates.remove(path, gone))
    opened = step("open_removed", lambda: store.load(path))
    step("column", lambda: opened.records.column("diameter_mm"))
    step("where", lambda: opened.records.where("diameter_mm BETWEEN ? AND ?", (5, 6)))
    step("records", lambda: opened.records.many(few))
    added = {name: values[more] for name, values in items.columns.items()}
    step("add", lambda: updates.add(path, items.codes[more], items.features[more], added))
    few_added = {name: values[:1000] for name, values in items.columns.items()}
    step(
        "add_1000", lambda: updates.add(path, items.codes[:1000], items.features[:1000], few_added)
    )
    step("compact", lambda: updates.compact(path))
    left, expected = (
        len(store.load(path, verify=True)),
        n - len(gone) + len(items.codes[more]) + 1000,
    )
    if left != expected:
        raise AssertionError(f"{left} items are left, expected {expected}")
    return row


def queries_on_disk(config: ConfigDict, items: Items, path: Path) -> list[dict[str, Any]]:
    """What a new process needs to open the index and search it, with each pool of the config.

    The first two rows are of the same queries, with the pages of the index in memory and without.
    """
    queries = random_items(config, 1024)
    features = next(queries.features())
    given = path.parent / "queries.npz"
    rows = []
    for pool, cold in [(config.pools[0], False), *((pool, True) for pool in config.pools)]:
        limit = threshold_for(pool, items.codes, queries.codes, items.bits)
        np.savez(given, codes=queries.codes, features=features, threshold=limit, calls=config.calls)
        if cold:
            forget_pages(path)
        command = [sys.executable, "-m", "experiments.bench.first_query", str(path), str(given)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        ready = found["open_ms"] + found["first_ms"]
        rows.append({"wanted": pool, "cold": cold, "threshold": limit, "ready_ms": ready, **found})
    given.unlink()
    return rows


def forget_pages(path: Path) -> None:
    """Ask the system to drop the cached pages of the index's files."""
    os.sync()
    for file in path.iterdir():
        handle = os.open(file, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def tables_of(storage_rows: list[dict[str, Any]], ranking_rows: list[dict[str, Any]]) -> str:
    """Both tables as Markdown."""
    scale = {"s": 1, "ms": 1000}
    steps = [f"{name.replace('_', ' ')} {unit}" for name, unit in STEPS.items()]
    lives = [
        (
            f"{r['items']:,}",
            r["dtype"],
            f"{r['bytes'] / 1e9:.3g}",
            *(
                f"{scale[unit] * r['seconds'][name]:.3g}" if name in r["seconds"] else "-"
                for name, unit in STEPS.items()
            ),
            f"{max(r['added_mib'].values()):.0f}",
        )
        for r in storage_rows
    ]
    asked = [
        (
            f"{r['items']:,}",
            r["dtype"],
            f"{q['wanted']:g}",
            "yes" if q["cold"] else "no",
            *(f"{q[name]:.3g}" for name in QUERIED),
        )
        for r in storage_rows
        for q in r["queries"]
    ]
    columns = tuple(ranking_rows[0]) if ranking_rows else ()
    return "\n".join(
        [
            tables.markdown(("items", "features", "GB", *steps, "memory MiB"), lives),
            tables.markdown(("items", "features", "wanted pool", "cold", *QUERIED), asked),
            tables.markdown(columns, [tuple(r.values()) for r in ranking_rows]),
        ]
    )
