"""Convex hulls of planes."""

import numpy as np
import pytest
from skimage import morphology

from inres.ct import packed
from inres.ct.hulls import hulls


def hulls_of(mask):
    return packed.unpack(hulls(packed.pack(mask)), mask.shape[2])


def by_enumeration(mask):
    """A pixel lies in the hull if no line through two points parts it from all of them."""
    points, pixels = np.argwhere(mask), np.argwhere(np.ones_like(mask))
    outside = np.zeros_like(mask)
    for a in points:
        for b in points:
            normal = np.array([b[1] - a[1], a[0] - b[0]])
            if normal.any() and ((points - a) @ normal <= 0).all():
                outside |= (((pixels - a) @ normal) > 0).reshape(mask.shape)
    return ~outside


def test_hulls_by_enumeration():
    rng = np.random.default_rng(1)
    mask = np.zeros((20, 24, 30), bool)
    for plane in mask:
        plane[rng.integers(2, 22, 9), rng.integers(2, 28, 9)] = True
    expected = np.stack([by_enumeration(plane) for plane in mask])
    np.testing.assert_array_equal(hulls_of(mask), expected)


def test_hulls_of_lungs():
    """Large shapes, one with a deep dent, as from another program."""
    y, x = np.mgrid[:200, :300]
    lung = (x - 150) ** 2 / 140**2 + (y - 100) ** 2 / 90**2 <= 1
    dented = lung & ((x - 60) ** 2 + (y - 100) ** 2 > 70**2)
    mask = np.stack([lung, dented, np.zeros_like(lung), np.rot90(dented, 2)])
    expected = [
        morphology.convex_hull_image(plane, offset_coordinates=False) for plane in mask[[0, 1, 3]]
    ]
    found = hulls_of(mask)
    assert not found[2].any()
    np.testing.assert_array_equal(found[[0, 1, 3]], expected)


@pytest.mark.parametrize("ends", [((2, 1), (2, 7)), ((0, 3), (4, 3)), ((1, 1), (3, 5)), ((2, 2),)])
def test_the_hull_of_a_line_is_itself(ends):
    mask = np.zeros((2, 5, 80), bool)
    for row, column in ends:
        mask[0, row, column] = True
    np.testing.assert_array_equal(hulls_of(mask), mask)
