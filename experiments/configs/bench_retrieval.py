"""What `experiments/bench/retrieval.py` measures; its docstring says how long that takes.

    python -m experiments.bench --config=experiments/configs/bench_retrieval.py --workdir=runs/bench

A part of it, or another size:

    --config.run="('scale',)" --config.sweeps.scale.sizes="(10_000, 100_000)"
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Each sweep is the product of its tuples."""
    sweep = {
        # uniform, clustered-<centres> (5 % of the bits flipped), or trained.
        "codes": ("uniform", "clustered-8", "clustered-1000", "trained"),
        "sizes": (10_000, 100_000, 1_000_000),
        "bits": (64,),
        "dims": (256,),
        "queries": (1, 64),
        # Wanted pool sizes: below 1 a share of the items, else a number of them.
        "pools": (0.0, 40.0, 0.01, 0.1, 0.6),
    }
    two = {"codes": ("uniform", "clustered-8"), "sizes": (1_000_000,), "pools": (40.0, 0.1)}
    return ConfigDict(
        {
            "kind": "retrieval",
            "run": ("scale", "bits", "dims", "batch", "devices", "large"),
            "sweeps": {
                "scale": sweep,
                "large": sweep
                | {
                    "codes": ("uniform", "clustered-8", "trained"),
                    "sizes": (10_000_000,),
                },
                "bits": sweep | two | {"bits": (48, 128)},
                "dims": sweep | two | {"sizes": (100_000, 1_000_000), "dims": (1024,)},
                "batch": sweep | two | {"pools": (40.0, 0.01), "queries": (1024,)},
            },
            # Sharded over so many CPU devices of one process, the jitted programs alone.
            "devices": {"counts": (1, 2), "size": 1_000_000, "codes": ("uniform", "clustered-8")},
            # An index on disk (<workdir>/index/archive) whose items are tiled with noise; its bits
            # and features are those of its network.
            "trained": "",
            # Approximate faiss indexes, for context, at this number of items.
            "context_items": 100_000,
            "k": 100,
            "rounds": 7,
            "round_seconds": 0.2,
            # Rounds are fewer, down to three, where they would take longer than this; and a case
            # whose peer would take longer than that for one call is left out, and named.
            "case_seconds": 6.0,
            "longest_call_seconds": 20.0,
            "single_queries": 1000,
            "seed": 0,
        }
    )
