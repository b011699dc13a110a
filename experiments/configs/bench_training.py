"""A training step against the same network in PyTorch.

    pip install -e '.[bench]'
    python -m experiments.bench --config=experiments/configs/bench_training.py \\
        --workdir=runs/bench_training

Three minutes on two cores. Fields of the network and its training can be set, for example
`--config.experiment.train.batch=128`; settings that the peer does not support are refused.
"""

from ml_collections import ConfigDict

from inres.config import Config, Loss, Train


def get_config() -> ConfigDict:
    """The default network on batches of 32."""
    return ConfigDict(
        {
            "kind": "training",
            # Plain NLL: the cost of other losses is small, and the peer has only this one.
            "experiment": Config(loss=Loss(name="nll", fine=0.0), train=Train(batch=32)),
            "classes": 8,
            # Also measure PyTorch compiled, which takes a minute to compile and a C++ compiler.
            "compiled": True,
            "rounds": 15,
            # Divided among the rivals; a round counts if other programs were idle.
            "round_seconds": 4.0,
            # Steps of the real loop, which measures the wait for input, and number of items.
            "loop_steps": 300,
            "items": 4000,
            "seed": 0,
        }
    )
