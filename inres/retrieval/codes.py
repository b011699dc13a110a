"""Binary codes: thresholded activations, packed into words of 32 bits.

Bit j of an item is bit j % 32 (least significant first) of word j // 32; unused high bits of the
last word are 0. As little-endian bytes the words equal `numpy.packbits(bits, bitorder="little")`,
padded with zero bytes to a multiple of four.
"""

from typing import Any

import numpy as np

WORD = 32
MAX_BITS = 16384
"""Longest code of an Index: distances are below `hamming.FAR` and exact as float32 sort keys."""
FEW = 64
"""So many numbers are compared faster as a list than by NumPy."""


def _module(array: Any) -> Any:
    """The library of an array: jax.numpy for JAX arrays and tracers; numpy for lists too.

    JAX arrays know their library, so that it need not be imported here.
    """
    known = getattr(array, "__array_namespace__", None)
    return np if known is None else known()


def words(bits: int) -> int:
    """Number of uint32 words that hold `bits` bits.

    Raises:
      ValueError: `bits` is below 1.
    """
    if bits < 1:
        raise ValueError(f"bits is {bits}, must be 1 or more")
    return -(-bits // WORD)


def binarize(activations: Any, threshold: float = 0.5) -> Any:
    """Bits of the latent layer: 1 where the activation is at least the threshold (paper, eq. 1).

    Args:
      activations: float [N, h], NumPy or JAX.
      threshold: smallest activation that gives 1.

    Returns:
      bool [N, h], as an array of the same library.
    """
    return _module(activations).asarray(activations) >= threshold


def pack(bits: Any) -> Any:
    """Pack bool [..., h] into uint32 [..., ceil(h / 32)], in the module's bit order.

    Raises:
      ValueError: `bits` is a scalar or its last axis is empty.
      TypeError: `bits` is not bool; use `binarize` on activations first.
    """
    xp = _module(bits)
    bits = xp.asarray(bits)
    if bits.dtype != np.bool_:
        raise TypeError(f"bits are {bits.dtype}, must be bool: use binarize first")
    if bits.ndim < 1:
        raise ValueError("bits is a scalar, must have a last axis of bits")
    h = bits.shape[-1]
    n_words = words(h)
    if xp is np:
        octets = np.packbits(bits, axis=-1, bitorder="little")
        pad = [(0, 0)] * (bits.ndim - 1) + [(0, 4 * n_words - octets.shape[-1])]
        return np.ascontiguousarray(np.pad(octets, pad)).view("<u4").astype(np.uint32, copy=False)
    padded = xp.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, n_words * WORD - h)])
    lanes = padded.reshape(*bits.shape[:-1], n_words, WORD).astype(xp.uint32)
    return xp.sum(lanes << xp.arange(WORD, dtype=xp.uint32), axis=-1, dtype=xp.uint32)


def unpack(codes: Any, bits: int) -> Any:
    """The inverse of `pack`: uint32 [..., W] to bool [..., bits].

    Raises:
      ValueError: W is not `words(bits)`.
      TypeError: `codes` is not uint32.
    """
    xp = _module(codes)
    codes = check(xp.asarray(codes), bits)
    lanes = codes[..., None] >> xp.arange(WORD, dtype=xp.uint32)
    lanes = (lanes & xp.uint32(1)).astype(bool)
    return lanes.reshape(*codes.shape[:-1], codes.shape[-1] * WORD)[..., :bits]


def check(codes: Any, bits: int, *, name: str = "codes") -> Any:
    """Return `codes` after checking that it is uint32 [..., words(bits)].

    In a NumPy array the unused high bits must be 0, because they would count as distance.

    Raises:
      ValueError: the width is wrong, or an unused bit is set.
      TypeError: the dtype is not uint32.
    """
    if codes.dtype != np.uint32:
        raise TypeError(f"{name} are {codes.dtype}, must be uint32 as made by pack")
    width = words(bits)
    if codes.ndim < 1 or codes.shape[-1] != width:
        raise ValueError(
            f"{name} have shape {tuple(codes.shape)}, but {bits} bits take {width} words"
        )
    spare = width * WORD - bits
    if spare and isinstance(codes, np.ndarray):
        last = codes[..., -1]
        # NumPy takes longer for a few numbers than Python does for all of them.
        highest = max(last.ravel().tolist(), default=0) if last.size < FEW else last.max()
        if int(highest) >> (WORD - spare):
            raise ValueError(f"{name} have bits set above bit {bits - 1}; unused bits must be 0")
    return codes


def sort(codes: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """The order of items by code, then by id.

    Codes are compared word by word, so that the highest bit of word 0 counts most.

    Args:
      codes: uint32 [N, W].
      ids: int [N].

    Returns:
      int64 [N], positions.
    """
    if codes.shape[1] == 1:
        return np.lexsort((ids, codes[:, 0]))
    pairs = [
        codes[:, w].astype(np.uint64) << np.uint64(32) | codes[:, w + 1]
        for w in range(0, codes.shape[1] - 1, 2)
    ]
    rest = [codes[:, -1]] if codes.shape[1] % 2 else []
    return np.lexsort((ids, *reversed(pairs + rest)))


def firsts(codes: np.ndarray) -> np.ndarray:
    """Position of the first item of each distinct code, int64 [U]; codes [N, W] are sorted."""
    first = np.ones(len(codes), bool)
    np.any(codes[1:] != codes[:-1], axis=1, out=first[1:])
    return np.flatnonzero(first)
