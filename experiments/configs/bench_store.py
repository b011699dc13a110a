"""What `experiments/bench/store.py` measures.

    python -m experiments.bench --config=experiments/configs/bench_store.py \\
        --workdir=runs/bench_store

Its long form; 10 GB of features as float32, so 35 GB of disk while it runs, and 5 minutes on two
cores:

    --config.sizes="(10_000_000,)"
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The cases are the products of `sizes` and `dtypes`."""
    return ConfigDict(
        {
            "kind": "store",
            "sizes": (100_000, 1_000_000),
            "dtypes": ("float32", "float16", "bfloat16"),
            "bits": 64,
            "dims": 256,
            # Centres of the gaussians, where no trained index is given.
            "centres": 1000,
            # An index on disk (<workdir>/index/archive) whose items are tiled with noise; its bits
            # and dims then count.
            "trained": "",
            # Shares of the items that are removed, at random, and added.
            "removed": 0.01,
            "added": 0.01,
            # Items and queries with which the rankings of half precision are judged.
            "ranked_items": 100_000,
            "ranked_queries": 100,
            "seed": 0,
        }
    )
