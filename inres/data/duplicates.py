"""Near-identical images: the same picture saved again, shifted by a pixel, or slightly brighter.

Two images are twins if their thumbnails, shifted by at most one pixel, differ

- by at most `MAX_RMS` grey levels (root mean square over the pixels where either image shows
  anything, that is, differs from its most common value), and
- by at most `MAX_RELATIVE` of what both show at a coarse scale. Two smooth patches of lung are
  close in grey levels, but are different patches.

Flips, rotations, other scales and other windows are not detected. Neighbouring slices of a scan
are often twins; twins in different scans mean that the data contains something twice.

The limits come from public crops of real CT of 50 x 50 and 64 x 64 pixels. Saved as JPEG with
quality 75 and shifted by a pixel, crops of lung differ by up to 10 levels and a relative 0.04,
solid nodules on black by up to 14.2 and 0.02 (300 images each). Of 16 million pairs of different
lung crops, none is within 0.05. Of 5 million pairs of nodules on black many are, since small ones
have a dozen pixels; there, grey levels separate them: one pair of different scans is within 10.2,
the next one within 17.5.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from inres.system.rows import Images

THUMBNAIL_PX = 64
"""Maximum side of a thumbnail."""
GRID = 16
"""Side of the coarse image, in cells."""
MAX_RMS = 15.0
MAX_RELATIVE = 0.05
_BACKGROUND = 2
"""Grey levels around the most common value that count as showing nothing."""
_SHIFTS = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
_CELLS = 1 << 22


def _averaging(size: int, cells: int) -> np.ndarray:
    """Weights that average a line of pixels over equal cells: float32 [cells, size]."""
    edges = np.linspace(0.0, size, cells + 1)
    pixel = np.arange(size)
    low = np.maximum(edges[:-1, None], pixel)
    high = np.minimum(edges[1:, None], pixel + 1)
    share = np.maximum(high - low, 0.0)
    return (share / share.sum(axis=1, keepdims=True)).astype(np.float32)


def _shrink(images: np.ndarray, cells: int) -> np.ndarray:
    """Images [N, S, S] averaged over a grid: float32 [N, cells, cells]."""
    weights = _averaging(images.shape[1], cells)
    return weights @ images.astype(np.float32) @ weights.T


def thumbnails(images: Images) -> np.ndarray:
    """Images uint8 [N, S, S] reduced to at most `THUMBNAIL_PX` pixels a side: uint8 [N, T, T]."""
    size = min(images.shape[1], THUMBNAIL_PX)
    out = np.empty((len(images), size, size), np.uint8)
    for rows in _blocks(len(images), images.shape[1] ** 2):
        part = np.asarray(images[rows])
        out[rows] = part if size == part.shape[1] else np.rint(_shrink(part, size))
    return out


def _blocks(count: int, width: int) -> Iterator[slice]:
    """Slices of rows of `width` values, in blocks of bounded memory."""
    step = max(1, _CELLS // width)
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _moved(images: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """Images [N, T, T] shifted by whole pixels; the edge is repeated."""
    size = images.shape[1]
    rows, cols = (np.clip(np.arange(size) - d, 0, size - 1) for d in (dy, dx))
    return images[:, rows][:, :, cols]


def _coarse(images: np.ndarray) -> np.ndarray:
    """Contrast at a coarse scale: float32 [N, GRID * GRID]."""
    cells = _shrink(images, min(GRID, images.shape[1]))
    cells -= ndimage.gaussian_filter(cells, (0, 1, 1), mode="nearest")
    return cells.reshape(len(cells), -1)


def _shown(images: np.ndarray) -> np.ndarray:
    """Pixels that differ from the image's most common value: bool [N, T, T]."""
    flat = images.reshape(len(images), -1)
    counts = np.bincount(
        (flat + 256 * np.arange(len(flat))[:, None]).ravel(), minlength=256 * len(flat)
    ).reshape(-1, 256)
    common = counts.argmax(axis=1)[:, None, None]
    return np.abs(images.astype(np.int16) - common) > _BACKGROUND


def difference(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Smallest RMS difference over shifts of up to a pixel, in grey levels: float64 [M].

    `left` and `right` are thumbnails uint8 [M, T, T]. Each pair is compared over the pixels where
    either shows anything, or over all pixels if neither does; the outermost pixels do not count.
    """
    best = np.full(len(left), np.inf)
    inner = (slice(None), slice(1, -1), slice(1, -1))
    shown_left, shown_right = _shown(left), _shown(right)
    for move in _SHIFTS:
        gap = left[inner].astype(np.float32) - _moved(right, *move)[inner]
        there = shown_left[inner] | _moved(shown_right, *move)[inner]
        there |= ~there.any(axis=(1, 2), keepdims=True)  # two blank images: all pixels
        square = np.sum(gap**2, axis=(1, 2), where=there) / there.sum(axis=(1, 2))
        best = np.minimum(best, np.sqrt(square))
    return best


def twins(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pairs of twins between two sets of thumbnails: rows of left and right, int64 [M, 2], sorted.

    Equal images of one side are represented by the first of them, so that blank images do not form
    a pair with every other one. Still, every row with a twin on the other side is in a pair.

    Args:
      left, right: uint8 [A, T, T] and [B, T, T]. `right` is shifted, so it should be the smaller.

    Raises:
      ValueError: thumbnails of different sizes.
    """
    if not len(left) or not len(right):
        return np.zeros((0, 2), np.int64)
    if left.shape[1:] != right.shape[1:]:
        raise ValueError(f"thumbnails of {left.shape[1:]} and {right.shape[1:]} cannot be compared")
    left_first, left_of = _distinct(left)
    right_first, right_of = _distinct(right)
    pairs = _twins(left[left_first], right[right_first])
    # From rows of distinct images to the first row with that image, and to all rows with it.
    left_of_pair = _partners(pairs[:, 0], pairs[:, 1], len(left_first))
    right_of_pair = _partners(pairs[:, 1], pairs[:, 0], len(right_first))
    out = [np.stack([left_first[pairs[:, 0]], right_first[pairs[:, 1]]], axis=1)]
    for rows, partner, first, flip in (
        (left_of, left_of_pair, right_first, False),
        (right_of, right_of_pair, left_first, True),
    ):
        mine = np.flatnonzero(partner[rows] >= 0)
        pair = np.stack([mine, first[partner[rows[mine]]]], axis=1)
        out.append(pair[:, ::-1] if flip else pair)
    return np.unique(np.concatenate(out), axis=0)


def _distinct(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each distinct image, and the number of the image of every row."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images]
    _, first, number = np.unique(np.array(digests), return_index=True, return_inverse=True)
    return first, number


def _partners(rows: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """The first of the `others` paired with each of `count` rows; -1 if there is none."""
    out = np.full(count, -1, np.int64)
    out[rows[::-1]] = others[::-1]
    return out


def _twins(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Pairs of twins, int64 [M, 2], between images that are distinct on each side."""
    cells_to_pixels = left.shape[1] ** 2 / min(GRID, left.shape[1]) ** 2
    blocks = list(_blocks(len(left), left[0].size))
    coarse = np.concatenate([_coarse(left[rows]) for rows in blocks])
    area = np.concatenate([_shown(left[rows]).sum(axis=(1, 2)) for rows in blocks])
    energy = _energy(coarse)
    # |a - b|^2 <= limit (|a|^2 + |b|^2), as one product of vectors with two more cells.
    keep = np.float32(MAX_RELATIVE - 1.0)
    extended = np.concatenate([2 * coarse, keep * energy, np.full_like(energy, keep)], axis=1)
    found = []
    for part in _blocks(len(right), 4096):
        images = right[part]
        part_area = _shown(images).sum(axis=(1, 2))
        for move in _SHIFTS:
            moved = _coarse(_moved(images, *move))
            other = _energy(moved)
            columns = np.concatenate([moved, np.ones_like(other), other], axis=1).T
            for rows in _blocks(len(left), len(images)):
                room = (extended[rows] @ columns).ravel()
                at = np.flatnonzero(room >= -1e-3)
                i, j = rows.start + at // len(images), at % len(images)
                gap = MAX_RELATIVE * (energy[i, 0] + other[j, 0]) - room[at]
                # Averaging and smoothing can only reduce a difference.
                close = gap * cells_to_pixels <= MAX_RMS**2 * (area[i] + part_area[j] + 1)
                found.append(np.stack([i[close], part.start + j[close]], axis=1))
    pairs = np.unique(np.concatenate(found), axis=0)
    near = [
        difference(left[pairs[some, 0]], right[pairs[some, 1]]) <= MAX_RMS
        for some in _blocks(len(pairs), 16 * left.shape[1] ** 2)  # stays in the cache
    ]
    return pairs[np.concatenate(near)] if near else pairs


def _energy(rows: np.ndarray) -> np.ndarray:
    """Squared length of each row, [N, 1]."""
    return np.einsum("nd,nd->n", rows, rows)[:, None]
