"""Time the search against faiss, or a training step against PyTorch, on the same cores.

    python -m experiments.bench --config=experiments/configs/bench_retrieval.py \
        --workdir=runs/bench --config.trained=runs/patches/index/archive
    python -m experiments.bench --config=experiments/configs/bench_training.py \
        --workdir=runs/bench_training

`config.kind` says which; `experiments.bench.retrieval` and `experiments.bench.training` tell what
they leave in the workdir. Before anything is timed, both must give the same answers. Run nothing
else meanwhile: rounds in which other programs used the processors are set aside, and a case without
three quiet rounds is marked.
"""

from pathlib import Path

from absl import flags

from experiments import common
from inres import config as config_lib

DEVICES = flags.DEFINE_integer("devices", 0, "Of the program itself: measure that many devices.")


def run(arguments: list[str]) -> None:
    """Measure what `config.kind` says.

    Raises:
      ConfigError: there is no such kind.
      RuntimeError: the peer is not installed; names the remedy.
    """
    if arguments:
        raise ValueError(f"unknown argument {arguments[0]!r}; flags begin with --")
    config, workdir = common.CONFIG.value, Path(str(common.WORKDIR.value))
    kind = config.get("kind")
    # Each kind imports its own peer alone.
    if kind == "retrieval":
        try:
            from experiments.bench import retrieval
        except ModuleNotFoundError as error:
            raise RuntimeError(f"{error}; the peer comes with: pip install -e '.[test]'") from None
        retrieval.run(config, workdir, DEVICES.value)
    elif kind == "training":
        from experiments.bench import training

        training.run(config, workdir)
    else:
        raise config_lib.ConfigError(
            f"config.kind = {kind!r}: must be 'retrieval' or 'training', as in "
            "experiments/configs/bench_retrieval.py and bench_training.py"
        )


if __name__ == "__main__":
    common.launch_with_arguments(run, required=("config", "workdir"))
