"""Processes that share a row of jobs out among them, one thread each."""

import contextlib
import multiprocessing
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any


def cores() -> int:
    """Number of processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


@contextlib.contextmanager
def running(
    function: Callable[..., Any],
    jobs: Iterable[tuple],
    *,
    workers: int,
    start: Callable[[], None],
) -> Iterator[list[Future]]:
    """The futures of `function(*job)` for each job, begun in their order.

    On any error, as an interruption, the processes are ended at once and waited for. `function`
    and `start`, which each process calls first, are found by their modules: the program itself is
    not imported again, which would hold JAX once more for each core.
    """
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=start)
    try:
        with _one_thread_each(), _without_main():
            futures = [pool.submit(function, *job) for job in jobs]
        yield futures
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread each, as there is one of them per core."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    old = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Processes started inside are told of no main module, so they do not import it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
