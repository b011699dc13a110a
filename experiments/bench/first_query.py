"""A new process that opens an index on disk and searches it; run by `experiments.bench`.

    python -m experiments.bench.first_query INDEX QUERIES.npz

QUERIES.npz holds codes, features, threshold and calls. Prints one line of JSON: milliseconds to
import the search, to open the index, and to answer the first query and all others; those from the
start of the process to the first answer, Python's own start included; which of JAX and the like
were imported for it; and the memory of the process, with and without the pages of mapped files.
"""

import json
import os
import sys
import time
from pathlib import Path

BEGIN = time.perf_counter()

import numpy as np  # noqa: E402

from inres.retrieval import search  # noqa: E402
from inres.storage import store  # noqa: E402

LARGE = ("jax", "flax", "optax", "orbax", "SimpleITK", "matplotlib", "scipy")
"""Packages that take longer to import than an index takes to open."""


def age_ms() -> float:
    """Time since this process was started, to 10 ms (Linux only)."""
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return 1e3 * (time.clock_gettime(time.CLOCK_BOOTTIME) - started)


def main() -> None:
    """Open, ask, and report."""
    imported = time.perf_counter()
    opened = store.load(sys.argv[1])
    ready = time.perf_counter()
    given = np.load(sys.argv[2])
    codes, features, threshold = given["codes"], given["features"], int(given["threshold"])

    def ask(i: int) -> tuple[float, int]:
        begin = time.perf_counter()
        row = slice(i % len(codes), i % len(codes) + 1)
        found = search.search(opened.index, codes[row], features[row], threshold=threshold, k=10)
        return time.perf_counter() - begin, int(found.pool_size[0])

    first, _ = ask(0)
    age, imports = age_ms(), [name for name in LARGE if name in sys.modules]
    asked = [ask(i) for i in range(1, int(given["calls"]))]
    times = 1e3 * np.array([seconds for seconds, _ in asked])
    status = Path("/proc/self/status").read_text(encoding="ascii")
    memory = {
        name: int(status.split(f"{name}:")[1].split()[0]) / 2**10
        for name in ("RssAnon", "RssFile", "VmHWM")
    }
    print(
        json.dumps(
            {
                "import_ms": 1e3 * (imported - BEGIN),
                "open_ms": 1e3 * (ready - imported),
                "first_ms": 1e3 * first,
                "process_ms": age,
                "imports": imports,
                "p50_ms": float(np.percentile(times, 50)),
                "p99_ms": float(np.percentile(times, 99)),
                "pool": float(np.median([pool for _, pool in asked])),
                **{f"{name}_mib": round(value) for name, value in memory.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
