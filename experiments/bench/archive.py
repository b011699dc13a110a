"""Response times of an opened archive: opening, first and second query, and many more.

Called by `experiments.bench`. Writes bench_archive.json and bench_archive.md to the workdir. Places
in the scan are drawn uniformly from the middle half of its extent along each axis. The very first
query loads the networks and the index and reads the scan. The network's own time is that of
encoding one image that is already prepared.
"""

import functools
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.bench import timing
from inres.archive import Archive
from inres.config import ConfigError
from inres.ct.scan import read_header
from inres.system import files, tables

COLUMNS = {
    "query": "query",
    "first_ms": "first, ms",
    "second_ms": "second, ms",
    "p50_ms": "p50, ms",
    "p95_ms": "p95, ms",
    "p99_ms": "p99, ms",
}


def measure_archive(config: ConfigDict, workdir: Path) -> None:
    """Measure one archive and write the results."""
    root = Path(config.archive).expanduser()
    scan = Path(config.scan).expanduser() if config.scan else _first_scan(root)
    places = _places(scan, config.queries + 2, seed=config.seed)
    began = time.perf_counter()
    archive = Archive.open(root)
    open_s = time.perf_counter() - began
    rng = np.random.default_rng(config.seed)
    rows = rng.integers(0, archive.item_count, config.queries + 2)
    images: list[np.ndarray] = []
    kinds: dict[str, Callable[[int], Any]] = {
        "place in a scan": lambda i: archive.search_scan(scan, world_mm=places[i]),
        "item": lambda i: images.append(archive.search_item(int(rows[i])).query.image),
        "image": lambda i: archive.search_image(images[i]),
        "the network alone": lambda i: archive.encode(images[i][None]),
    }
    table = [{"query": name, **_measure(call, config.queries)} for name, call in kinds.items()]
    result = {
        "cores": os.cpu_count(),
        "items": len(archive),
        "scan": str(scan.name),
        "open_s": round(open_s, 3),
        "queries": table,
    }
    files.write_json(workdir / "bench_archive.json", result)
    shown = [{key: _shown(value) for key, value in row.items()} for row in table]
    text = tables.write_markdown(workdir / "bench_archive.md", COLUMNS, shown)
    print(f"{len(archive)} items, opened in {open_s:.2f} s\n\n{text}")


def _measure(call: Callable[[int], Any], count: int) -> dict[str, float]:
    """Milliseconds of the first two calls, and percentiles of `count` further ones."""
    first, second = (1e3 * timing.seconds_of(functools.partial(call, i)) for i in (0, 1))
    return {
        "first_ms": round(first, 2),
        "second_ms": round(second, 2),
        **timing.percentiles(lambda i: call(i + 2), calls=count),
    }


def _shown(value: object) -> str:
    """Milliseconds with one decimal place; text unchanged."""
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _first_scan(root: Path) -> Path:
    found = sorted((root / "scans").glob("subset*/*.mhd"))
    if not found:
        raise ConfigError(f"config.scan is empty, and {root / 'scans'} has none: name a scan")
    return found[0]


def _places(scan: Path, count: int, *, seed: int) -> list[tuple[float, float, float]]:
    """Places in the middle half of a scan along each axis, x, y, z in mm (LPS)."""
    header = read_header(scan)
    rng = np.random.default_rng(seed)
    index = (np.array(header.shape) - 1) * rng.uniform(0.25, 0.75, (count, 3))
    return [tuple(map(float, header.index_to_world(row))) for row in index]  # type: ignore[misc]
