"""What `experiments/bench/training.py` measures.

    pip install -e '.[bench]'
    python -m experiments.bench --config=experiments/configs/bench_training.py \\
        --workdir=runs/bench_training

Three minutes on two cores. Fields of the network and its training can be set, as in
`--config.experiment.train.batch=128`; what the peer has not is refused, naming the field.
"""

from ml_collections import ConfigDict

from inres.config import Config, Loss, Train


def get_config() -> ConfigDict:
    """The default network on batches of 32."""
    return ConfigDict(
        {
            "kind": "training",
            # Plain NLL: what a loss adds to it is small, and the peer has no other.
            "experiment": Config(loss=Loss(name="nll", fine=0.0), train=Train(batch=32)),
            "classes": 8,
            "rounds": 15,
            # Shared by the rivals; a round counts where other programs were quiet in it.
            "round_seconds": 4.0,
            # Of the real loop, in which the wait for input is measured, and the items it draws.
            "loop_steps": 300,
            "items": 4000,
            "seed": 0,
        }
    )
