"""The questions of the search benchmark: how each program answers, and which answers agree."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from experiments.bench.competitors import fine_stage
from experiments.bench.competitors.fine_stage import Ranked
from experiments.bench.competitors.interface import Competitor
from experiments.bench.retrieval_case import Case
from inres.retrieval import search as search_lib
from inres.system import processes

COMPARED_ITEMS = 1 << 24
"""Pools of a batch are compared as sets until NumPy has computed so many distances."""


class Question(Protocol):
    """A batch of queries for one of our functions."""

    codes: np.ndarray
    """uint32 [Q, W]."""

    def ours(self, threads: int) -> Callable[[], Any] | None:
        """Our search; None if it cannot be limited to so many threads."""

    def prepare(self, rival: Competitor) -> str:
        """Let a competitor choose its settings; returns them in words."""

    def theirs(self, rival: Competitor, queries: int | None = None) -> Any:
        """The answer of a competitor, to all or the first `queries` queries."""

    def check(self, result: Any, answer: Any) -> None:
        """Compare our result with a competitor's answer.

        Raises:
          AssertionError: they differ.
        """


class HammingQuestion:
    """The k nearest codes."""

    def __init__(self, case: Case, codes: np.ndarray, k: int):
        self.case, self.codes, self.k = case, codes, k

    def ours(self, threads: int) -> Callable[[], Any] | None:
        """As in `Question`; the call returns Hamming distances [Q, k]."""
        limited = with_workers(search_lib.search_hamming, threads)
        if limited is None:
            return None
        return lambda: limited(self.case.built, self.codes, k=self.k)[1]

    def prepare(self, rival: Competitor) -> str:
        """As in `Question`."""
        return rival.prepare_top_k(self.codes, self.k)

    def theirs(self, rival: Competitor, queries: int | None = None) -> np.ndarray:
        """As in `Question`: Hamming distances [Q, k]."""
        return rival.top_k(self.codes[:queries], self.k)

    def check(self, result: np.ndarray, answer: np.ndarray) -> None:
        """As in `Question`."""
        np.testing.assert_array_equal(answer, result)


class TwoStageQuestion:
    """The k nearest features of the items below a Hamming distance."""

    def __init__(self, case: Case, codes: np.ndarray, features: np.ndarray, threshold: int, k: int):
        self.case, self.codes, self.features = case, codes, features
        self.threshold, self.k = threshold, k

    def ours(self, threads: int) -> Callable[[], Any] | None:
        """As in `Question`; the call returns a `Result`."""
        limited = with_workers(search_lib.search, threads)
        if limited is None:
            return None
        return functools.partial(
            limited, self.case.built, self.codes, self.features, threshold=self.threshold, k=self.k
        )

    def prepare(self, rival: Competitor) -> str:
        """As in `Question`."""
        return rival.prepare_pools(self.codes, self.threshold)

    def theirs(
        self, rival: Competitor, queries: int | None = None
    ) -> tuple[list[np.ndarray], list[Ranked]]:
        """As in `Question`: the pool of each query, as it is and ranked."""
        pools = rival.pools(self.codes[:queries], self.threshold)
        return pools, fine_stage.rank(
            pools, self.case.features, self.features, self.k, threads=rival.threads
        )

    def check(
        self, result: search_lib.Result, answer: tuple[list[np.ndarray], list[Ranked]]
    ) -> None:
        """As in `Question`; pools are also compared with NumPy's, as sets."""
        pools, ranked = answer
        check_search(result, ranked)
        count = max(1, COMPARED_ITEMS // len(self.case.codes))
        for code, pool in zip(self.codes[:count], pools, strict=False):
            np.testing.assert_array_equal(np.sort(pool), self._pool(code))

    def _pool(self, code: np.ndarray) -> np.ndarray:
        """The pool of one query by NumPy."""
        distance = np.bitwise_count(self.case.codes ^ code).sum(axis=1, dtype=np.int32)
        return np.flatnonzero(distance < self.threshold)


def with_workers(function: Callable[..., Any], threads: int) -> Callable[..., Any] | None:
    """One of our searches with a number of threads; None if it always uses all cores."""
    if "workers" in inspect.signature(function).parameters:
        return functools.partial(function, workers=threads)
    return function if threads == processes.cores() else None


def check_search(result: search_lib.Result, expected: list[Ranked]) -> None:
    """Check that pool sizes and distances agree; ids may differ where rounding differs.

    Raises:
      AssertionError: they do not.
    """
    for row, (square, ids, size) in enumerate(expected):
        if result.pool_size[row] != size:
            raise AssertionError(f"query {row}: pool of {size}, ours has {result.pool_size[row]}")
        found = result.ids[row] >= 0
        distance = np.sqrt(np.maximum(square, 0))
        np.testing.assert_allclose(result.distance[row][found], distance, rtol=1e-3, atol=1e-2)
        if len(set(ids) - set(result.ids[row])) > max(1, len(ids) // 20):
            raise AssertionError(f"query {row}: more than 5 % of the neighbours differ")
