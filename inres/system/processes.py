"""Worker processes with one thread each."""

import contextlib
import multiprocessing
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from inres.system.memory import keep_freed_memory


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
    """Run `function(*job)` for each job in worker processes; yields the futures, in order.

    Every process first calls `start`. On any error, including an interrupt, the processes are
    terminated and joined. `function` and `start` are imported from their own modules; the main
    module is not imported, because it would load JAX in every process.
    """
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(start,))
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


def _begin(start: Callable[[], None]) -> None:
    keep_freed_memory()
    start()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes started inside use one thread each, since there is one process per core."""
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
    """Processes started inside see an empty main module, so they do not import the real one."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
