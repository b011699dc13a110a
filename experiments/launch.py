"""Run a command as several processes on this machine.

    python -m experiments.launch --processes=4 -- -m experiments.reproduce \\
        --config=experiments/configs/phantom.py --workdir=runs/phantom

Each process gets an equal share of the processor cores, and of the GPUs if there are any. Process 0
shows its progress and writes the files; errors of the others are shown. When a process ends, all
are ended, and the same command continues, also with another number of processes. On several
machines, Slurm, Open MPI or Kubernetes start the processes (experiments/README.md).
"""

import sys

from experiments import common
from inres.system import launching


def start(arguments: list[str]) -> None:
    """Start the processes and wait for them; ends with their exit status."""
    cache = common.COMPILE_CACHE.value
    own = [f"--compile_cache={cache}"] if cache else []
    sys.exit(launching.launch(arguments, common.PROCESSES.value or 0, flags=own))


if __name__ == "__main__":
    common.launch_with_arguments(start, required=("processes",), joins=False)
