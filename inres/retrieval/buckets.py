"""Substring buckets over a directory of distinct codes (multi-index hashing).

Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with multi-index hashing": cut a code
into m disjoint substrings. If a code differs from a query in at most r = m a + b bits (b < m), one
of the first b + 1 substrings differs in at most a bits, or one of the others in at most a - 1. So
all codes within a radius are in the buckets of a few substring values, and a search need not read
the rest.

Here substrings have `width` bits, about four codes share a bucket, and the substrings need not
cover the code. The directory is sorted by code, so the buckets of the first substring, the highest
bits, are stretches of the directory and need no list.
"""

import dataclasses

import numpy as np

from inres.retrieval import codes as codes_lib

LEAST_CODES = 4096
"""Fewer distinct codes are scanned faster than any bucket is found."""


@dataclasses.dataclass(frozen=True)
class Cut:
    """One substring of codes: `high` bits of a word from `high_shift` on, then `low` of the next.

    Where `low` is 0, the substring lies in a single word.
    """

    word: int
    high_shift: int
    high: int
    low_shift: int
    low: int

    def of(self, codes: np.ndarray) -> np.ndarray:
        """The substring of each code of uint32 [N, W], uint32 [N]."""
        mask = np.uint32((1 << self.high) - 1)
        value = codes[:, self.word] >> np.uint32(self.high_shift) & mask
        if self.low:
            rest = np.uint32((1 << self.low) - 1)
            after = codes[:, self.word + 1] >> np.uint32(self.low_shift) & rest
            value = value << np.uint32(self.low) | after
        return value


@dataclasses.dataclass(frozen=True)
class Buckets:
    """The codes of a directory by substring: the m = `len(tables)` substrings of `cuts`."""

    width: int
    """Bits of a substring."""
    tables: np.ndarray
    """uint32 [m, 2^width + 1], where the bucket of each value begins, and where the last ends."""
    rows: np.ndarray
    """uint32 [m - 1, U], places in the directory bucket by bucket, ascending within one, of all
    substrings but the first, whose buckets are stretches of the directory."""


def cuts(bits: int, width: int, count: int) -> list[Cut]:
    """`count` disjoint substrings of `width` bits, spread evenly; the first are the highest bits.

    Bits are numbered in the order in which codes are sorted: from the highest of word 0 on, without
    the unused ones of the last word.
    """
    spread = bits // count
    return [_cut(bits, start, width) for start in range(0, spread * count, spread)]


def _cut(bits: int, start: int, width: int) -> Cut:
    def used(word: int) -> int:
        return min(codes_lib.WORD, bits - codes_lib.WORD * word)

    word = start // codes_lib.WORD
    high = min(width, used(word) - start % codes_lib.WORD)
    low = width - high
    return Cut(
        word,
        used(word) - start % codes_lib.WORD - high,
        high,
        used(word + 1) - low if low else 0,
        low,
    )


def shape(distinct: int, bits: int) -> tuple[int, int]:
    """Width and number of substrings for a directory; (0, 0): none.

    A list of places takes 4 bytes per code and substring, so their number grows with the length of
    the codes: three for 64 bits. Tables take at most another 4 bytes per code.
    """
    if distinct < LEAST_CODES:
        return 0, 0
    most = 1 + codes_lib.words(bits)
    width = max(1, min(distinct.bit_length() - 3, max(bits // most, 8), bits))
    return width, min(most, bits // width)


def build(codes: np.ndarray, bits: int) -> Buckets:
    """The buckets of a directory of distinct codes, uint32 [U, W], ascending."""
    width, count = shape(len(codes), bits)
    tables = np.zeros((count, (1 << width) + 1 if count else 0), np.uint32)
    rows = np.zeros((max(0, count - 1), len(codes)), np.uint32)
    for number, cut in enumerate(cuts(bits, width, count) if count else ()):
        values = cut.of(codes)
        tables[number, 1:] = np.cumsum(np.bincount(values, minlength=1 << width))
        if number:
            rows[number - 1] = np.argsort(values, kind="stable")
    return Buckets(width, tables, rows)
