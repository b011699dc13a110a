"""What a training step costs, against PyTorch eager on the same cores.

    pip install -e '.[test,bench]'
    python -m experiments.bench --config=experiments/configs/bench_training.py \\
        --workdir=runs/bench_training

Two minutes on two cores. Other sizes: --config.training.batches="(8, 32, 128)"; the paper's width,
on a machine of its own: --config.training.networks="('paper',)" --config.training.batches="(8,)".
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Each network x batch is a case."""
    return ConfigDict(
        {
            "run": ("training",),
            "training": {
                # `light` is the default network on 64 x 64 pixels, `paper` that of paper.py.
                "networks": ("light",),
                "batches": (32,),
                "rounds": 12,
                "round_seconds": 4.0,
                # Of the real loop, in which the wait for input is measured.
                "loop_steps": 300,
                "images": 4000,
            },
        }
    )
