"""Work on many machines by Dask's distributed scheduler, over a shared file system.

The scheduler distributes jobs and repeats those of workers that died. Nothing is coordinated here.
Dask is an extra of the package (`cluster`) and is imported when it is used.
"""

import contextlib
import importlib.metadata
import logging
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

PACKAGES = ("inres", "numpy", "scipy", "SimpleITK", "pydicom")
"""Packages that decide what a scan's items look like."""
CONNECT_S = 30
"""How long to wait for the scheduler, and then for a first worker."""
UNKNOWN = "not installed"


class ClusterError(RuntimeError):
    """The cluster cannot be used, or was lost; says what to do."""


@contextlib.contextmanager
def running_on(
    scheduler: str, function: Callable[..., Any], jobs: Iterable[tuple], *, shared: Path
) -> Iterator[Iterator[Any]]:
    """Run `function(*job)` for each job on a cluster; yields the futures as they finish.

    Args:
      scheduler: address, as in `tcp://host:8786`.
      function: importable by the workers; it may be called again for a job whose worker died.
      jobs: arguments.
      shared: a folder that all workers must see.

    Raises:
      ClusterError: Dask is not installed, there is no scheduler or worker, a worker does not see
        the folder or has other versions of the packages, or the scheduler was lost.
    """
    distributed = _distributed()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_quiet())
        try:
            client = stack.enter_context(
                distributed.Client(scheduler, timeout=CONNECT_S, set_as_default=False)
            )
            client.wait_for_workers(1, timeout=CONNECT_S)
        except (OSError, ValueError, TimeoutError) as error:
            raise ClusterError(
                f"--scheduler={scheduler}: no scheduler with a worker there ({error}); start them "
                "with `dask scheduler` and `dask worker ADDRESS --nthreads 1`"
            ) from None
        with tempfile.NamedTemporaryFile(dir=shared) as mark:
            require_equal(client.run(describe, mark.name), Path(mark.name), describe(mark.name))
        futures = [client.submit(function, *job, pure=False) for job in jobs]
        try:
            yield distributed.as_completed(futures, loop=client.loop)
        except distributed.KilledWorker as error:
            raise ClusterError(
                f"workers died again and again at one scan, most likely for lack of memory "
                f"({error.task}); give each more memory, then run again (finished scans are kept)"
            ) from None
        except (CancelledError, distributed.comm.CommClosedError):
            raise ClusterError(
                f"--scheduler={scheduler}: the connection was lost; start the scheduler and its "
                "workers again, then run again (finished scans are kept)"
            ) from None


def describe(mark: str) -> dict[str, str]:
    """Whether a file is seen here, and by which versions; runs on workers."""
    found = {"file": "seen" if Path(mark).exists() else "not seen"}
    found["Python"] = ".".join(platform.python_version_tuple()[:2])
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = UNKNOWN
    return found


def require_equal(workers: dict[str, dict[str, str]], mark: Path, here: dict[str, str]) -> None:
    """Check that all workers see the file and have the versions of this machine.

    Args:
      workers: `describe` of each by address.

    Raises:
      ClusterError: names the first that differs.
    """
    for address, found in sorted(workers.items()):
        if found["file"] != here["file"]:
            raise ClusterError(
                f"worker {address}: does not see {mark.parent}; the workdir and the data must lie "
                "on a file system that all workers share, under the same path"
            )
        for name, version in found.items():
            if version != here[name]:
                raise ClusterError(
                    f"worker {address}: {name} is {version}, here it is {here[name]}; install the "
                    "same versions, so that all scans are prepared alike"
                )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own messages about lost connections are not shown inside."""
    loggers = [logging.getLogger(name) for name in ("distributed", "tornado", "asyncio")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _distributed() -> Any:
    """Dask's scheduler as a module.

    Raises:
      ClusterError: it is not installed.
    """
    try:
        import distributed
        import distributed.comm
    except ImportError:
        raise ClusterError(
            "--scheduler needs Dask: pip install 'inres[cluster]' here and on all workers"
        ) from None
    return distributed
