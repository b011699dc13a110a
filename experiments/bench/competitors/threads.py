"""Threads of the competitors: limits for OpenMP and BLAS, and batches split over threads."""

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import faiss
import numpy as np
import threadpoolctl

T = TypeVar("T")


def limited(threads: int) -> Any:
    """A context in which OpenMP and BLAS use at most `threads` threads."""
    return threadpoolctl.threadpool_limits(threads)


@functools.cache
def executor(threads: int) -> ThreadPoolExecutor:
    """A pool of threads, each of which calls faiss with one thread."""
    return ThreadPoolExecutor(threads, initializer=faiss.omp_set_num_threads, initargs=(1,))


def split(call: Callable[[np.ndarray], T], codes: np.ndarray, threads: int) -> list[T]:
    """Results of `call` for parts of a batch of queries, one part and thread each."""
    if threads == 1 or len(codes) == 1:
        return [call(codes)]
    return list(executor(threads).map(call, np.array_split(codes, min(threads, len(codes)))))
