"""Every plan of the search, and how well the kernel chooses between them. About 5 minutes.

    python -m experiments.bench --config=experiments/configs/bench_plans.py \\
        --workdir=runs/bench_plans
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Every combination of the values in the tuples is measured."""
    return ConfigDict(
        {
            "kind": "plans",
            # Kinds of items, see experiments/bench/random_items.py.
            "codes": ("uniform", "clustered-8", "clustered-1000"),
            "sizes": (100_000, 1_000_000),
            "bits": 64,
            "dims": 64,
            "queries": (1, 64),
            # Pool sizes as in bench_retrieval.py.
            "pools": (1.0, 40.0, 0.01),
            "k": 10,
            # Numbers of nearest codes for the search by Hamming distance.
            "nearest": (10, 100),
            "rounds": 5,
            "round_seconds": 0.2,
            "seed": 0,
        }
    )
