"""Random codes and features on which the search and the index on disk are measured."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from inres.retrieval import codes as codes_lib
from inres.storage import store

BLOCK = 1 << 18
"""Items generated at a time."""


class RandomItems:
    """Items of one kind: the codes are generated at once, the features block by block.

    Kinds:
      `uniform`: random bits and standard normal features.
      `clustered-<centres>`: random centres with 5 % of the bits flipped and normal noise added.
      `trained`: the items of an index on disk as centres, 0.5 % of the bits flipped, and noise of a
        tenth of each feature's standard deviation.
    """

    def __init__(
        self, kind: str, count: int, *, bits: int, dims: int, seed: int, trained: str = ""
    ):
        """`trained` is the path of the index on disk whose bits then replace the given.

        Of its features the first `dims` are used.
        """
        self.bits, self.dims = bits, dims
        self._rng = rng = np.random.default_rng([seed, count, bits, dims])
        shared = np.random.default_rng([seed, bits, dims])  # items and queries have equal centres
        if kind == "trained":
            stored = store.load(trained)
            self.bits, self.dims = stored.bits, min(dims, stored.dims)
            self._centre = rng.integers(0, len(stored), count)
            clean = codes_lib.unpack(np.asarray(stored.codes), stored.bits)
            self._means = np.asarray(stored.features[:, : self.dims], np.float32)
            self._spread = 0.1 * self._means.std(axis=0)
            flips = 0.005
        elif kind == "uniform":
            self._centre = np.zeros(count, np.int64)
            clean = np.zeros((1, bits), bool)
            self._means = np.zeros((1, dims), np.float32)
            self._spread = np.ones(dims, np.float32)
            flips = 0.5
        else:
            centres = int(kind.removeprefix("clustered-"))
            self._centre = rng.integers(0, centres, count)
            clean = shared.random((centres, bits)) < 0.5
            self._means = 2 * shared.standard_normal((centres, dims), dtype=np.float32)
            self._spread = np.ones(dims, np.float32)
            flips = 0.05
        self.codes = np.concatenate([self._flipped(part, clean, flips) for part in self._blocks()])
        """uint32 [N, W]."""

    def _blocks(self, block: int = BLOCK) -> list[np.ndarray]:
        return np.split(self._centre, range(block, len(self._centre), block))

    def _flipped(self, part: np.ndarray, clean: np.ndarray, share: float) -> np.ndarray:
        return codes_lib.pack(
            clean[part] ^ (self._rng.random((len(part), self.bits), dtype=np.float32) < share)
        )

    def sort(self) -> None:
        """Order the items by their codes."""
        order = np.lexsort(self.codes.T[::-1])
        self.codes, self._centre = self.codes[order], self._centre[order]

    def features(self, block: int = BLOCK) -> Iterator[np.ndarray]:
        """Blocks float32 [n, D] of the features, in order; every call draws new noise."""
        for part in self._blocks(block):
            noise = self._rng.standard_normal((len(part), self.dims), dtype=np.float32)
            yield self._means[part] + self._spread * noise

    def write_features(self, path: Path) -> np.ndarray:
        """Write the features to an .npy file; returns it memory-mapped, float32 [N, D]."""
        out = np.lib.format.open_memmap(path, "w+", np.float32, (len(self.codes), self.dims))
        done = 0
        for rows in self.features():
            out[done : done + len(rows)] = rows
            done += len(rows)
        out.flush()
        return np.load(path, mmap_mode="r")
