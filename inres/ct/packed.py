"""Masks with 64 voxels to a word, for operations in planes.

A packed mask is uint64 [Z, Y, W]: bit i of word w is column x = 64 w + i. All functions treat what
lies beyond the first and last row, word or plane as outside the mask. Bits beyond the width of the
mask may be set by a dilation; `unpack` drops them.
"""

import numpy as np

WORD = 64
"""Voxels of a word."""
_LOW = np.array([(1 << n) - 1 for n in range(WORD + 1)], np.uint64)
"""Words whose n lowest bits are set."""


def pack(mask: np.ndarray) -> np.ndarray:
    """bool [Z, Y, X] -> uint64 [Z, Y, W]."""
    octets = np.packbits(mask, axis=-1, bitorder="little")
    words = -(-mask.shape[-1] // WORD)
    out = np.zeros((*mask.shape[:-1], words * 8), np.uint8)
    out[..., : octets.shape[-1]] = octets
    return out.view("<u8").astype(np.uint64, copy=False)


def unpack(bits: np.ndarray, width: int) -> np.ndarray:
    """uint64 [Z, Y, W] -> bool [Z, Y, width]."""
    octets = np.ascontiguousarray(bits.astype("<u8", copy=False)).view(np.uint8)
    return np.unpackbits(octets, axis=-1, count=width, bitorder="little").view(bool)


def count(bits: np.ndarray) -> np.ndarray:
    """Voxels in each plane: int64 [Z]."""
    return np.bitwise_count(bits).sum((1, 2), dtype=np.int64)


def spans(first: np.ndarray, last: np.ndarray, words: int) -> np.ndarray:
    """Rows that are filled from column `first` to column `last`, int [...] both, empty if
    last < first. uint64 [..., words].
    """
    begin = WORD * np.arange(words)
    low = _LOW[np.clip(first[..., None] - begin, 0, WORD)]
    high = _LOW[np.clip(last[..., None] + 1 - begin, 0, WORD)]
    return high & ~low


def first_column(bits: np.ndarray) -> np.ndarray:
    """The first column of each row that is inside: int64 [Z, Y], arbitrary in empty rows."""
    word = (bits != 0).argmax(-1)
    value = np.take_along_axis(bits, word[..., None], -1)[..., 0]
    return WORD * word + np.bitwise_count((value & -value) - np.uint64(1))


def last_column(bits: np.ndarray) -> np.ndarray:
    """The last column of each row that is inside: int64 [Z, Y], arbitrary in empty rows."""
    word = bits.shape[-1] - 1 - (bits[..., ::-1] != 0).argmax(-1)
    value = np.take_along_axis(bits, word[..., None], -1)[..., 0]
    for n in (1, 2, 4, 8, 16, 32):
        value |= value >> n
    return WORD * word + np.bitwise_count(value).astype(np.int64) - 1


def dilate(bits: np.ndarray, radius: float) -> np.ndarray:
    """Dilation of each plane by a disc: all pixels with distances up to `radius` pixels."""
    height = bits.shape[1]
    reach = min(int(radius), height - 1)
    squares = np.arange(int(radius) + 1.0) ** 2
    half_widths = [int(np.sum(np.sqrt(squares + square) <= radius)) - 1 for square in squares]
    out = np.zeros_like(bits)
    wide, half_width = bits, 0
    for row in range(reach, -1, -1):
        while half_width < half_widths[row]:
            wide = _wider(wide)
            half_width += 1
        out[:, row:] |= wide[:, : height - row]
        out[:, : height - row] |= wide[:, row:]
    return out


def close(bits: np.ndarray, radius: float) -> np.ndarray:
    """Closing of each plane by a disc, of a mask that is further than `radius` from the edges."""
    return bits | ~dilate(~dilate(bits, radius), radius)


def open_cross(bits: np.ndarray) -> np.ndarray:
    """Opening of each plane by a pixel and its four neighbours."""
    return dilate(~dilate(~bits, 1), 1)


def dilate_cross(bits: np.ndarray, steps: int) -> np.ndarray:
    """Dilation in three dimensions by voxels and their six neighbours, `steps` times."""
    for _ in range(steps):
        wide = dilate(bits, 1)
        wide[1:] |= bits[:-1]
        wide[:-1] |= bits[1:]
        bits = wide
    return bits


def rim(bits: np.ndarray, depth: int) -> np.ndarray:
    """Pixels from which a step of `depth` along a row or column leaves the mask."""
    inner = bits.copy()
    left = right = bits
    for _ in range(depth):
        left, right = _left(left), _right(right)
    inner &= left & right
    inner[:, depth:] &= bits[:, :-depth]
    inner[:, :-depth] &= bits[:, depth:]
    inner[:, :depth] = inner[:, -depth:] = 0
    return bits & ~inner


def _wider(bits: np.ndarray) -> np.ndarray:
    out = _right(bits)
    out |= _left(bits)
    out |= bits
    return out


def _right(bits: np.ndarray) -> np.ndarray:
    """Shifted by a column towards higher x."""
    out = bits << 1
    out[..., 1:] |= bits[..., :-1] >> (WORD - 1)
    return out


def _left(bits: np.ndarray) -> np.ndarray:
    """Shifted by a column towards lower x."""
    out = bits >> 1
    out[..., :-1] |= bits[..., 1:] << (WORD - 1)
    return out
