"""A new process that opens an index on disk and searches it; run by `experiments.bench`.

    python -m experiments.bench.first_query INDEX QUERIES.npz

QUERIES.npz holds codes, features, threshold and calls. Prints one line of JSON: seconds to import
the search, to open the index, to answer the first query and all others, and the memory of the
process, with and without the pages of mapped files.
"""

import json
import sys
import time
from pathlib import Path

BEGIN = time.perf_counter()

import numpy as np  # noqa: E402

from inres.retrieval import search  # noqa: E402
from inres.storage import store  # noqa: E402


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
                "p50_ms": float(np.percentile(times, 50)),
                "p99_ms": float(np.percentile(times, 99)),
                "pool": float(np.median([pool for _, pool in asked])),
                **{f"{name}_mib": round(value) for name, value in memory.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
