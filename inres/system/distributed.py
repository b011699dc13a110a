"""Whether a command runs as several processes, by its flags or its environment, and joining them.

Nothing here imports JAX or starts anything in a command of one process.
"""

import dataclasses
import importlib.util
import os
import warnings

from inres.system import together

MEET_S = 300
"""Seconds in which all processes must have started."""

_STARTED_BY = {
    "Slurm": ("SLURM_NTASKS", "SLURM_PROCID"),
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"),
}
"""Variables with the number of processes and the number of this one, by what sets them."""
_HINTS = (
    *("SLURM_PROCID", "OMPI_COMM_WORLD_RANK"),
    *("TPU_WORKER_HOSTNAMES", "TPU_PROCESS_ADDRESSES"),  # GKE
    "JOB_COMPLETION_INDEX",  # an indexed job of Kubernetes
)
"""Variables without one of which JAX is not asked whether it recognises the environment."""
_OWN_MACHINE = ("localhost", "127.0.0.1", "[::1]")
_HELP = (
    "on one machine, `python -m experiments.launch --processes=N -- -m MODULE ...` gives them; "
    "under srun none is needed"
)


@dataclasses.dataclass(frozen=True)
class Place:
    """The place of a process among those of its command."""

    index: int
    count: int
    coordinator: str | None
    """HOST:PORT of process 0; None: JAX finds it in the environment."""
    environment: str | None = None
    """JAX's name of the environment that says where process 0 is."""


def place(coordinator: str | None, processes: int | None, process: int | None) -> Place | None:
    """The place that the flags or, without any of them, the environment say; None for one process.

    Args:
      coordinator: HOST:PORT of process 0.
      processes: number of processes; 1 overrides the environment.
      process: number of this one, from 0.

    Raises:
      ValueError: flags are missing or impossible; names them.
    """
    if processes == 1 and not process and coordinator is None:
        return None
    if coordinator is None and processes is None and process is None:
        return _detected()
    of_all, own = _started() or (None, None)
    count = of_all if processes is None else processes
    index = own if process is None else process
    if coordinator is None or count is None or index is None:
        given = {
            "--coordinator=HOST:PORT": coordinator,
            "--processes": count,
            "--process": index,
        }
        missing = " and ".join(flag for flag, value in given.items() if value is None)
        raise ValueError(f"several processes also need {missing}; {_HELP}")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--coordinator={coordinator}: must be HOST:PORT of process 0")
    if count < 1:
        raise ValueError(f"--processes={count}: must be at least 1")
    if not 0 <= index < count:
        raise ValueError(
            f"--process={index}: must be one of 0..{count - 1}, as --processes={count}"
        )
    return Place(index, count, coordinator) if count > 1 else None


def _started() -> tuple[int, int] | None:
    """Number of processes and number of this one, as Slurm or Open MPI say."""
    for names in _STARTED_BY.values():
        count, index = (os.environ.get(name, "") for name in names)
        if count.isdigit() and index.isdigit():
            return int(count), int(index)
    return None


def _detected() -> Place | None:
    """The place in an environment that JAX recognises: Slurm, Open MPI, TPUs, Kubernetes."""
    if not any(name in os.environ for name in _HINTS) and not importlib.util.find_spec("libtpu"):
        return None
    from jax._src import clusters  # the rules of `jax.distributed.initialize`, which has no dry run

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about packages for environments that are not this one
        kinds = clusters.ClusterEnv._cluster_types
        found = next((k for k in kinds if not k.opt_in_only_method and k.is_env_present()), None)
    if found is not None:
        count = found.get_process_count()
        return Place(found.get_process_id(), count, None, found.name) if count > 1 else None
    # Without an error, those whose environment JAX does not recognise would each run alone.
    if "JOB_COMPLETION_INDEX" in os.environ and not importlib.util.find_spec("kubernetes"):
        raise ValueError(
            "in an indexed job of Kubernetes, JAX needs the package kubernetes to find the other "
            "processes; install it (pip install 'jax[k8s]'), or add --processes=1"
        )
    started = int(os.environ.get("OMPI_COMM_WORLD_SIZE", "1"))
    if started > 1:  # a version that does not say where they meet
        raise ValueError(
            f"Open MPI started {started} processes, but does not say where they meet; add "
            "--coordinator=HOST:PORT with the host of process 0 and a free port, or --processes=1"
        )
    return None


def _listening(coordinator: str | None) -> str | None:
    """Where process 0 listens; None: on all addresses of its machine.

    Whoever reaches it can have it run code, so processes of one machine must not be reached from
    another one.
    """
    host = coordinator.rpartition(":")[0] if coordinator else ""
    return coordinator if host in _OWN_MACHINE else None


def join(at: Place | None) -> None:
    """Connect the processes of a command; does nothing for one process.

    Must be called before JAX is used. Collectives of CPUs are those of Gloo.

    Raises:
      RuntimeError: they did not meet; names where and how many.
    """
    if at is None:
        return
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.config.update("jax_enable_preemption_service", False)  # it would ignore SIGTERM
    try:
        jax.distributed.initialize(
            at.coordinator,
            at.count,
            at.index,
            cluster_detection_method=at.environment,
            initialization_timeout=MEET_S,
            coordinator_bind_address=_listening(at.coordinator),
        )
        jax.devices()  # the processes tell each other their devices, so all must ask at once
    except RuntimeError as error:
        where = at.coordinator or f"the host that {at.environment} names"
        said = str(error).partition("\n")[0][:120]
        raise RuntimeError(
            f"process {at.index} of {at.count}: they did not meet at {where} ({said}); start all "
            f"within {MEET_S // 60} minutes, and choose a port of process 0 that is free"
        ) from None
    together.begin(at.index, at.count)
