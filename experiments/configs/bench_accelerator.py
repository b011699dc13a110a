"""Training, encoding, segmentation and search on one accelerator, with the share of its peak rates.

    python -m experiments.bench --config=experiments/configs/bench_accelerator.py \\
        --workdir=runs/bench_accelerator

It also runs on a CPU, with less:

    --config.sizes="(1_000_000, 10_000_000)" --config.queries="(1, 64)"

`experiments/bench/accelerator_check.sh` runs it with other checks in less than ten minutes.
"""

from ml_collections import ConfigDict

from experiments.configs import paper
from inres.config import Config, Items, Loss, Model, Segment, Train


def get_config() -> ConfigDict:
    """Every combination of the values in tuples is measured."""
    plain = Loss(name="nll", fine=0.0)  # the cost of other losses is small
    full = paper.get_config()
    return ConfigDict(
        {
            "kind": "accelerator",
            "run": ("training", "encoding", "segmentation", "coarse", "two_stages"),
            # Trained for a step; the first also encodes, and its `segment` describes the U-Net.
            "networks": {
                "light": Config(loss=plain, train=Train(batch=64), segment=Segment(width=16)),
                "paper": full,
                "volume": Config(
                    items=Items(view="cube"),
                    model=Model(name="inres_net_3d", stem=20),
                    loss=plain,
                    train=Train(batch=32),
                ),
            },
            "precisions": ("float32", "bfloat16"),
            "classes": 8,
            # The first training step in PyTorch as well, also compiled.
            "pytorch": True,
            "compiled": True,
            # Items, queries, and sizes of the pools of the two stages.
            "sizes": (1_000_000, 10_000_000, 100_000_000),
            "queries": (1, 64, 1024),
            "bits": 64,
            "dims": 64,
            "pools": (40.0,),
            "k": 100,
            # Items times queries; more are left out.
            "most_distances": 1.1e11,
            # Peak rates that replace those of experiments/bench/chips.py: bytes and floating-point
            # operations per second; 0: as in the table, or measured if the chip is not in it.
            "peaks": {"bandwidth": 0.0, "float32": 0.0, "bfloat16": 0.0},
            "rounds": 5,
            "round_seconds": 0.2,
            # A call that takes longer is made once.
            "longest_call_seconds": 2.0,
            "seed": 0,
        }
    )
