"""Single queries from 1 to 16 threads at the same time. About a minute.

    python -m experiments.bench --config=experiments/configs/bench_threads.py \\
        --workdir=runs/bench_threads
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """One set of items, as in bench_retrieval.py."""
    return ConfigDict(
        {
            "kind": "threads",
            "codes": "clustered-8",
            "size": 1_000_000,
            "bits": 64,
            "dims": 64,
            "pools": (1.0, 40.0, 0.01),
            "k": 10,
            "threads": (1, 2, 4, 16),
            # Duration of each measurement.
            "seconds": 1.5,
            "seed": 0,
        }
    )
