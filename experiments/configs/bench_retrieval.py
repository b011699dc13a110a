"""What `experiments/bench.py` measures; the bench's docstring says how long and on what machine.

    python -m experiments.bench --config=experiments/configs/bench_retrieval.py --workdir=runs/bench

Its long form, on a machine with 24 GB:

    --config.sizes="(10_000, 100_000, 1_000_000, 10_000_000)" --config.queries="(1, 64, 1024)"
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """The cases are the products of the tuples."""
    return ConfigDict(
        {
            "sizes": (10_000, 100_000, 1_000_000),
            "bits": (64,),
            "dims": (256,),
            "queries": (1, 64),
            # uniform, clustered-<centres> (5 % of the bits flipped), or trained.
            "codes": ("uniform", "clustered-8", "clustered-1000"),
            # An index on disk (<workdir>/index/archive) whose items are tiled with noise.
            "trained": "",
            # Wanted pool sizes: below 1 a share of the items, else a number of them.
            "pools": (0.0, 40.0, 0.01, 0.1, 0.6),
            "k": 100,
            "rounds": 7,
            "round_seconds": 0.3,
            "single_queries": 200,
            "seed": 0,
        }
    )
