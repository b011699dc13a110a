"""The index on disk: times of every operation, and rankings in half precision.

    python -m experiments.bench --config=experiments/configs/bench_store.py \\
        --workdir=runs/bench_store

About 2 minutes on two cores. Ten million items take 5 minutes, 10 GB for float32 features and
35 GB of disk during the run:

    --config.sizes="(10_000_000,)"

A hundred million items of 64 features take 60 GB of disk during the run:

    --config.sizes="(100_000_000,)" --config.dims=64 --config.dtypes="('float16',)" \\
        --config.life=False
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Every size is measured with every dtype."""
    return ConfigDict(
        {
            "kind": "store",
            "sizes": (100_000, 1_000_000),
            "dtypes": ("float32", "float16", "bfloat16"),
            "bits": 64,
            "dims": 256,
            # Number of cluster centres, if no trained index is given.
            "centres": 1000,
            # An index on disk (<workdir>/index/archive) whose items are repeated with noise. Its
            # bits replace those above; of its features the first `dims` are used.
            "trained": "",
            # Whether items are also removed, added and verified; otherwise the index is only saved
            # and searched, and has no scans.
            "life": True,
            # Shares of the items that are removed (at random) and added.
            "removed": 0.01,
            "added": 0.01,
            # Pools of the searches on disk: a number of items, or a share if below 1; and how many
            # queries are asked of each.
            "pools": (40.0, 0.01),
            "calls": 200,
            # Numbers of items and queries for comparing rankings in half precision.
            "ranked_items": 100_000,
            "ranked_queries": 100,
            "seed": 0,
        }
    )
