"""Multi-index hashing: which substrings to index for a radius, and when it is exact.

A code is cut into m substrings. If two codes differ in at most r bits, at least one substring
differs in at most floor(r / m) bits (pigeonhole principle; Norouzi, Punjani and Fleet 2012).
Looking up every substring with up to that many bits flipped therefore finds all items within r.

The best cut depends on the items and the radius. All cuts are ranked by the number of buckets and
candidates they would visit, estimated from a sample, and the best ones are built and timed.
"""

import abc
import contextlib
import itertools
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import faiss
import numpy as np

from experiments.bench import timing
from experiments.bench.competitors.interface import Competitor, NotApplicable, octets

T = TypeVar("T")
BUCKET_SECONDS = 40e-9
"""Rough time to look up a bucket."""
CANDIDATE_SECONDS = 60e-9
"""Rough time to collect and check a candidate."""
SCAN_SECONDS = 1e-9
"""Rough time of an exhaustive scan per item."""
LONGEST_SECONDS = 1e-3
"""Estimated time that is acceptable for any number of items."""
TRIED = 3
"""Number of cuts that are built and timed."""
KEPT_BYTES = 8e9
"""Memory for indexes of several cuts, estimated."""


class Cut(NamedTuple):
    """Substrings of the first `parts * width` bits."""

    parts: int
    width: int

    def flips(self, radius: int) -> int:
        """Number of flipped bits per substring that finds everything within `radius`."""
        return min(radius // self.parts, self.width)

    def reach(self, flips: int) -> float:
        """Largest radius within which `flips` flipped bits per substring find everything."""
        return math.inf if flips >= self.width else self.parts * (flips + 1) - 1

    def buckets(self, flips: int) -> int:
        """Number of buckets looked up for one query."""
        return self.parts * sum(math.comb(self.width, i) for i in range(flips + 1))

    def bytes_for(self, items: int) -> float:
        """Approximate memory of the hash tables."""
        return self.parts * (8 * items + 100 * min(items, 2.0**self.width))


class Hashing(Competitor):
    """Base of the competitors that hash substrings."""

    def __init__(self, codes: np.ndarray, bits: int, *, threads: int):
        super().__init__(codes, bits, threads=threads)
        self._built: OrderedDict[Cut, Any] = OrderedDict()
        self._ranked: dict[tuple[int, bytes], list[Cut]] = {}
        self._index: Any = None
        self._cut, self._flips = Cut(1, 1), 0
        self._parallel = False
        """Whether a batch is answered by several threads."""

    @abc.abstractmethod
    def _cuts(self) -> Sequence[Cut]:
        """All cuts to consider."""

    @abc.abstractmethod
    def _make(self, cut: Cut) -> Any:
        """Build the index of a cut."""

    @abc.abstractmethod
    def _nearest(self, queries: np.ndarray, k: int) -> np.ndarray:
        """The smallest distances found with `_flips` flips, int [Q, k], ascending."""

    @abc.abstractmethod
    def _within(self, queries: np.ndarray, threshold: int) -> list[np.ndarray]:
        """Positions of items below `threshold`, found with `_flips` flips."""

    def _each(self, answer: Callable[[np.ndarray], T], codes: np.ndarray) -> list[T]:
        """Answers to a batch of queries, in parts."""
        return [answer(codes)]

    def prepare_top_k(self, codes: np.ndarray, k: int) -> str:
        """Choose the cut for the distance of the k-th code, which a scan determines.

        The radius is the largest such distance of a batch, or the median, beyond which queries are
        answered by a scan.

        Raises:
          NotApplicable: a scan would be much faster.
        """
        farthest = faiss.knn_hamming(octets(codes, self.bits), self.octets, k)[0][:, -1]
        radii = {int(np.median(farthest)), int(farthest.max())}
        return self._choose(codes, sorted(radii), lambda part: self.top_k(part, k))

    def top_k(self, codes: np.ndarray, k: int) -> np.ndarray:
        """As in the base class.

        Distances up to the reach of the flips are complete. A query whose k-th distance is larger
        is answered by a scan.
        """

        def answer(part: np.ndarray) -> np.ndarray:
            queries = octets(part, self.bits)
            distance = self._nearest(queries, k)
            unsure = distance[:, -1] > self._cut.reach(self._flips)
            if unsure.any():
                distance[unsure] = faiss.knn_hamming(queries[unsure], self.octets, k)[0]
            return distance

        return np.concatenate(self._each(answer, codes))

    def prepare_pools(self, codes: np.ndarray, threshold: int) -> str:
        """Choose the cut for the threshold.

        Raises:
          NotApplicable: a scan would be much faster.
        """
        return self._choose(codes, [threshold - 1], lambda part: self.pools(part, threshold))

    def pools(self, codes: np.ndarray, threshold: int) -> list[np.ndarray]:
        """As in the base class; exact up to the threshold that was prepared.

        Raises:
          NotApplicable: the threshold is beyond it.
        """
        if threshold - 1 > self._cut.reach(self._flips):
            raise NotApplicable(f"{self._flips} flips are not exact below {threshold}")

        def answer(part: np.ndarray) -> list[np.ndarray]:
            return self._within(octets(part, self.bits), threshold)

        return list(itertools.chain.from_iterable(self._each(answer, codes)))

    def _choose(
        self, codes: np.ndarray, radii: Sequence[int], ask: Callable[[np.ndarray], Any]
    ) -> str:
        """Use the fastest cut, radius and number of threads.

        Raises:
          NotApplicable: a scan would be much faster, even for the smallest radius.
        """
        parallel = (False, True) if self.threads > 1 and len(codes) > 1 else (False,)
        cuts = [(cut, radii[0]) for cut in self._ranking(codes, radii[0])]
        for radius in radii[1:]:
            with contextlib.suppress(NotApplicable):
                cuts += [(cut, radius) for cut in self._ranking(codes, radius)]
        options = [(cut, radius, threads) for cut, radius in cuts for threads in parallel]

        def attempt(option: tuple[Cut, int, bool]) -> None:
            self._use(*option)
            ask(codes)

        def one(option: tuple[Cut, int, bool]) -> float:
            self._use(*option)
            return timing.seconds_of(lambda: ask(codes[:1]))

        # The estimates may be far off, and a batch would take as many times longer.
        most = 50 * LONGEST_SECONDS + 4 * SCAN_SECONDS * len(self.octets)
        options = [option for option in options if one(option) < most]
        if not options:
            raise NotApplicable("a scan takes much less time for one query")
        self._use(*timing.fastest(options, attempt))
        words = f"m = {self._cut.parts}, b = {self._cut.width}, nflip = {self._flips}"
        return words + (f", {self.threads} threads" if self._parallel else "")

    def _use(self, cut: Cut, radius: int, parallel: bool) -> None:
        self._cut, self._flips, self._parallel = cut, cut.flips(radius), parallel
        if cut not in self._built:
            n = len(self.octets)
            while self._built and sum(c.bytes_for(n) for c in (cut, *self._built)) > KEPT_BYTES:
                self._built.popitem(last=False)
                self._index = None
            self._built[cut] = self._make(cut)
        self._built.move_to_end(cut)
        self._index = self._built[cut]

    def _ranking(self, codes: np.ndarray, radius: int) -> list[Cut]:
        """The best cuts by estimated time.

        Raises:
          NotApplicable: even the best one would take much longer than a scan.
        """
        key = (radius, codes[0].tobytes())  # the first query of a case is the same in every batch
        if key not in self._ranked:
            differing = _sampled_differences(self.octets, octets(codes, self.bits))
            costs = {cut: self._cost(cut, radius, differing) for cut in self._cuts()}
            best = sorted(costs, key=lambda cut: costs[cut])[:TRIED]
            least = costs[best[0]]
            if least > LONGEST_SECONDS + 4 * SCAN_SECONDS * len(self.octets):
                raise NotApplicable("the radius is so large that a scan takes much less time")
            worst = max(LONGEST_SECONDS, 5 * least)
            self._ranked[key] = [cut for cut in best if costs[cut] <= worst]
        return self._ranked[key]

    def _cost(self, cut: Cut, radius: int, differing: np.ndarray) -> float:
        """Estimated seconds of a query."""
        flips = cut.flips(radius)
        used = differing[:, : cut.parts * cut.width].reshape(-1, cut.parts, cut.width)
        sampled = float((used.sum(axis=2, dtype=np.int16) <= flips).mean())
        # The sample does not show shares below one in its size; uniform codes have this one.
        uniform = cut.buckets(flips) / cut.parts / 2.0**cut.width
        candidates = cut.parts * max(sampled, uniform) * len(self.octets)
        return cut.buckets(flips) * BUCKET_SECONDS + candidates * CANDIDATE_SECONDS


def _sampled_differences(items: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Which bits differ for sampled pairs of items and queries: bool [pairs, bits]."""
    items = items[:: max(1, len(items) >> 12)]
    pairs = (items[:, None] ^ queries[None, :16]).reshape(-1, items.shape[1])
    return np.unpackbits(pairs, axis=1, bitorder="little").view(bool)


def useful_widths(items: int, most: int) -> list[int]:
    """Substring widths near the logarithm of the number of items, at most `most` and 32 bits."""
    middle = max(4, round(math.log2(max(items, 2))))
    return sorted({min(most, 32, width) for width in (middle - 4, middle, middle + 4, 32)})
