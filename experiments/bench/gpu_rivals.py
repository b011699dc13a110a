"""Other programs that search binary codes on a GPU: faiss and cuVS, where they are installed.

Not yet tested on a GPU. Answers are compared before anything is timed.
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from inres.retrieval import codes as codes_lib


class GpuRival(abc.ABC):
    """A program that holds all codes on the GPU."""

    name: ClassVar[str]

    @abc.abstractmethod
    def __init__(self, codes: np.ndarray, bits: int):
        """Copy the codes, uint32 [N, W], to the GPU.

        Raises:
          ImportError: it is not installed.
          RuntimeError: it has no GPU.
        """

    @abc.abstractmethod
    def top_k(self, queries: np.ndarray, k: int) -> Callable[[], np.ndarray]:
        """A function that gives the Hamming distances [Q, k], ascending, of uint32 [Q, W]."""

    def verified(
        self, queries: np.ndarray, k: int, expected: np.ndarray, messages: list[str]
    ) -> Callable[[], Any] | None:
        """`top_k`, if its answers are the expected ones; otherwise None and a message."""
        try:
            call = self.top_k(queries, k)
            right = np.array_equal(call(), expected)
        except Exception as error:  # another program's: whatever it is, it is reported
            messages.append(f"{self.name}: {type(error).__name__}: {error}")
            return None
        if not right:
            messages.append(f"{self.name} is left out: its distances are not ours")
        return call if right else None


class FaissGpu(GpuRival):
    """`GpuIndexBinaryFlat`, a scan of packed codes."""

    name = "faiss GpuIndexBinaryFlat"

    def __init__(self, codes: np.ndarray, bits: int):
        import faiss

        if not hasattr(faiss, "GpuIndexBinaryFlat"):
            raise ImportError("this faiss has no GPU part; install faiss-gpu")
        if faiss.get_num_gpus() == 0:
            raise RuntimeError("faiss sees no GPU")
        self.resources = faiss.StandardGpuResources()
        self.index: Any = faiss.GpuIndexBinaryFlat(self.resources, 32 * codes.shape[1])
        self.index.add(np.ascontiguousarray(codes).view(np.uint8))

    def top_k(self, queries: np.ndarray, k: int) -> Callable[[], np.ndarray]:
        """As in the base class."""
        octets = np.ascontiguousarray(queries).view(np.uint8)
        return lambda: self.index.search(octets, k)[0]


class CuvsSigns(GpuRival):
    """Brute force of cuVS, which has no packed codes: the inner product of signs as float16."""

    name = "cuVS brute_force, float16 signs"

    def __init__(self, codes: np.ndarray, bits: int):
        import cupy
        from cuvs.neighbors import brute_force

        self.bits = bits
        self.array: Any = cupy.asarray
        self.host: Any = cupy.asnumpy
        self.module: Any = brute_force
        self.index: Any = brute_force.build(self._signs(codes), metric="inner_product")

    def _signs(self, codes: np.ndarray) -> Any:
        bits = codes_lib.unpack(codes, self.bits)
        return self.array(np.where(bits, 1, -1).astype(np.float16))

    def top_k(self, queries: np.ndarray, k: int) -> Callable[[], np.ndarray]:
        """As in the base class; signs of `bits` bits with d different ones have bits - 2 d."""
        signs = self._signs(queries)

        def call() -> np.ndarray:
            products, _ = self.module.search(self.index, signs, k)
            product = np.asarray(self.host(self.array(products)), np.float64)
            return ((self.bits - product) / 2).astype(np.int32)

        return call


def build(codes: np.ndarray, bits: int) -> tuple[list[GpuRival], list[str]]:
    """The programs that are installed and see a GPU, and messages on the others."""
    built: list[GpuRival] = []
    messages = []
    for kind in (FaissGpu, CuvsSigns):
        try:
            built.append(kind(codes, bits))
        except Exception as error:  # another program's: whatever it is, it is reported
            messages.append(f"{kind.name}: {type(error).__name__}: {error}")
    return built, messages
