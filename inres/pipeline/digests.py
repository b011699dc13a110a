"""Digests of network inputs, by which the images of the training are recognized."""

import hashlib
from pathlib import Path

import numpy as np

from inres.pipeline.artifacts import INDEX_AGAIN
from inres.system import files


def of_inputs(inputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Digests of the network inputs `rows` of [N, S, S, C], by which they are recognized later.

    Returns:
      uint8 [n, 16].
    """
    digests = [np.frombuffer(of_input(inputs[row]), np.uint8) for row in rows]
    return np.stack(digests) if digests else np.zeros((0, 16), np.uint8)


def of_input(image: np.ndarray) -> bytes:
    """Digest of one network input, uint8 [S, S, C]: 16 bytes."""
    return hashlib.blake2b(np.ascontiguousarray(image).tobytes(), digest_size=16).digest()


def read(path: Path, remedy: str = INDEX_AGAIN) -> frozenset[bytes]:
    """Digests of network inputs, uint8 [n, 16] on disk.

    Raises:
      ValueError: the file is damaged; names it and ends with `remedy`.
    """
    digests = files.load_array(path, remedy)
    if digests.ndim != 2 or digests.dtype != np.uint8:
        raise ValueError(f"{path}: damaged ({digests.dtype} {list(digests.shape)}); {remedy}")
    return frozenset(row.tobytes() for row in digests)
