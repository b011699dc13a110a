"""Measure the search, training, the index on disk, an opened archive, a scan or an accelerator.

    python -m experiments.bench --config=experiments/configs/bench_retrieval.py \
        --workdir=runs/bench --config.trained=runs/patches/index/archive
    python -m experiments.bench --config=experiments/configs/bench_training.py \
        --workdir=runs/bench_training
    python -m experiments.bench --config=experiments/configs/bench_store.py \
        --workdir=runs/bench_store --config.trained=runs/phantom/index/archive
    python -m experiments.bench --config=experiments/configs/bench_archive.py \
        --workdir=runs/bench_archive --config.archive=runs/phantom
    python -m experiments.bench --config=experiments/configs/bench_prepare.py \
        --workdir=runs/bench_prepare
    python -m experiments.bench --config=experiments/configs/bench_plans.py \
        --workdir=runs/bench_plans
    python -m experiments.bench --config=experiments/configs/bench_threads.py \
        --workdir=runs/bench_threads
    python -m experiments.bench --config=experiments/configs/bench_accelerator.py \
        --workdir=runs/bench_accelerator

`config.kind` selects the measurement: `retrieval` (against faiss and others), `training` (against
PyTorch), `store`, `archive`, `prepare` (against SimpleITK), `plans` of the search, searches by
several `threads`, or what an `accelerator` achieves of its peak rates. The modules of these names
describe what each one writes to the workdir. Before a peer is timed, its answers are checked
against ours. Leave the machine idle otherwise: rounds in which other programs used the processors
are discarded, and a case with fewer than three quiet rounds is marked as disturbed. Only `prepare`
measures processor time instead.
"""

from pathlib import Path

from absl import flags

from experiments import common
from inres import config as config_lib

DEVICES = flags.DEFINE_integer(
    "devices", 0, "Internal: the benchmark starts itself with this flag to measure sharding."
)


def measure(arguments: list[str]) -> None:
    """Run the measurement that `config.kind` selects.

    Raises:
      ConfigError: unknown kind.
      RuntimeError: the peer is not installed; names the command that installs it.
    """
    if arguments:
        raise ValueError(f"unknown argument {arguments[0]!r}; flags begin with --")
    config, workdir = common.CONFIG.value, Path(str(common.WORKDIR.value))
    kind = config.get("kind")
    # Imported here because each kind needs a peer that the others do not.
    if kind == "retrieval":
        try:
            from experiments.bench import retrieval
        except ModuleNotFoundError as error:
            raise RuntimeError(f"{error}; install it: pip install -e '.[bench]'") from None
        retrieval.compare_searches(config, workdir, devices=DEVICES.value)
    elif kind == "training":
        from experiments.bench import training

        training.compare_with_pytorch(config, workdir)
    elif kind == "store":
        from experiments.bench import store

        store.measure_store(config, workdir)
    elif kind == "archive":
        from experiments.bench import archive

        archive.measure_archive(config, workdir)
    elif kind == "prepare":
        from experiments.bench import prepare

        prepare.measure_prepare(config, workdir)
    elif kind == "plans":
        from experiments.bench import plans

        plans.measure_plans(config, workdir)
    elif kind == "threads":
        from experiments.bench import threads

        threads.measure_threads(config, workdir)
    elif kind == "accelerator":
        from experiments.bench import accelerator

        accelerator.measure_accelerator(config, workdir)
    else:
        raise config_lib.ConfigError(
            f"config.kind = {kind!r}: must be 'retrieval', 'training', 'store', 'archive', "
            "'prepare', 'plans', 'threads' or 'accelerator', as in "
            "experiments/configs/bench_<kind>.py"
        )


if __name__ == "__main__":
    common.launch_with_arguments(measure, required=("config", "workdir"))
