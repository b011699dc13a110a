"""The search against other programs. Several hours on two cores, 24 GB of memory, 12 GB of disk.

    python -m experiments.bench --config=experiments/configs/bench_retrieval.py --workdir=runs/bench

A part of it, or other sizes:

    --config.run="('scale',)" --config.sweeps.scale.sizes="(10_000, 100_000)"
    --config.competitors="('faiss_flat', 'faiss_multi_hash')"
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """A sweep measures every combination of the values in its tuples."""
    sweep = {
        # Kinds of items, see experiments/bench/random_items.py.
        "codes": ("uniform", "clustered-8", "clustered-1000", "trained"),
        "sizes": (100_000, 1_000_000),
        "bits": (64,),
        # 128, so that ten million items fit in 24 GB together with the competitors.
        "dims": (128,),
        "queries": (1, 64),
        # Target pool sizes: a share of the items if below 1, otherwise a number of items. 1: below
        # a distance of 3, for queries that are the codes of items with two bits flipped.
        "pools": (0.0, 1.0, 40.0, 0.01, 0.1, 0.6),
    }
    two = {"codes": ("uniform", "clustered-8"), "sizes": (1_000_000,), "pools": (40.0, 0.1)}
    return ConfigDict(
        {
            "kind": "retrieval",
            "run": ("scale", "bits", "dims", "batch", "devices", "large"),
            "sweeps": {
                "scale": sweep,
                "large": sweep | {"sizes": (10_000_000,)},
                "bits": sweep | two | {"bits": (48, 128)},
                "dims": sweep | two | {"sizes": (100_000, 1_000_000), "dims": (256, 1024)},
                "batch": sweep | two | {"pools": (40.0, 0.01), "queries": (1024,)},
            },
            # Numbers of CPU devices of one process for the sharded search with jitted programs.
            "devices": {"counts": (1, 2), "size": 1_000_000, "codes": ("uniform", "clustered-8")},
            # An index on disk (<workdir>/index/archive) whose items are repeated with noise. Its
            # bits replace those of the sweep; of its features the first `dims` are used.
            "trained": "",
            # Modules of experiments/bench/competitors; the first is the reference. Empty: all.
            "competitors": (),
            # Number of items at which other methods, mostly approximate, are measured for context.
            "context_items": 100_000,
            "k": 100,
            "rounds": 7,
            "round_seconds": 0.2,
            # A case gets fewer rounds, at least three, if they would take longer than this.
            "case_seconds": 6.0,
            # A competitor that takes longer for a call and ten times as long as we do is called
            # once, unless it is the fastest; after a hundred times as long, or longer than the
            # second number, it is left out and listed.
            "slow_seconds": 1.0,
            "longest_call_seconds": 20.0,
            "single_queries": 1000,
            "seed": 0,
        }
    )
