"""Operations on packed masks compared with distances and with SciPy's morphology."""

import numpy as np
import pytest
from scipy import ndimage

from inres.ct import packed

CROSS = ndimage.generate_binary_structure(3, 1)
IN_PLANE = CROSS.copy()
IN_PLANE[[0, 2]] = False


def blobs(seed=0, shape=(4, 60, 150), edge=0, points=40):
    """Rectangles, at least `edge` pixels from the borders of the planes."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for _ in range(points):
        z = rng.integers(shape[0])
        y, x = (rng.integers(edge, size - edge - 5) for size in shape[1:])
        mask[z, y : y + rng.integers(1, 6), x : x + rng.integers(1, 6)] = True
    return mask


def near(mask, radius):
    """Pixels within `radius` of the mask in their plane."""
    far = [ndimage.distance_transform_edt(~plane) for plane in mask]
    return (np.stack(far) <= radius) & mask.any((1, 2))[:, None, None]


@pytest.mark.parametrize("width", [1, 7, 63, 64, 65, 128, 150])
def test_pack_and_unpack(width):
    mask = np.random.default_rng(width).random((3, 5, width)) < 0.5
    bits = packed.pack(mask)
    assert bits.shape == (3, 5, -(-width // 64))
    assert bits[1, 2, -1] >> np.uint64((width - 1) % 64) == mask[1, 2, -1]
    np.testing.assert_array_equal(packed.unpack(bits, width), mask)
    np.testing.assert_array_equal(packed.count(bits), mask.sum((1, 2)))


@pytest.mark.parametrize("radius", [0.0, 0.5, 1.0, 1.5, 3.0, 10.0, 14.2857, 70.5])
def test_dilation_by_a_disc(radius):
    mask = blobs(points=6)
    bits = packed.dilate(packed.pack(mask), radius)
    np.testing.assert_array_equal(packed.unpack(bits, mask.shape[2]), near(mask, radius))


@pytest.mark.parametrize("radius", [1.0, 4.0, 10.0])
def test_closing_by_a_disc(radius):
    mask = blobs(edge=12)
    expected = ~near(~near(mask, radius), radius)
    bits = packed.close(packed.pack(mask), radius)
    np.testing.assert_array_equal(packed.unpack(bits, mask.shape[2]), expected)


def test_crosses():
    mask = blobs(points=300, edge=3)
    opened = packed.unpack(packed.open_cross(packed.pack(mask)), mask.shape[2])
    np.testing.assert_array_equal(opened, ndimage.binary_opening(mask, IN_PLANE))
    for steps in (1, 2, 3):
        grown = packed.unpack(packed.dilate_cross(packed.pack(mask), steps), mask.shape[2])
        np.testing.assert_array_equal(grown, ndimage.binary_dilation(mask, CROSS, steps))


def test_rim():
    mask = blobs(points=300)
    wide = np.pad(mask, ((0, 0), (2, 2), (2, 2)))
    inner = mask & wide[:, 4:, 2:-2] & wide[:, :-4, 2:-2] & wide[:, 2:-2, 4:] & wide[:, 2:-2, :-4]
    bits = packed.rim(packed.pack(mask), 2)
    np.testing.assert_array_equal(packed.unpack(bits, mask.shape[2]), mask & ~inner)


def test_first_and_last_columns():
    mask = np.random.default_rng(0).random((6, 40, 150)) < 0.02
    bits, some = packed.pack(mask), mask.any(2)
    np.testing.assert_array_equal(packed.first_column(bits)[some], mask.argmax(2)[some])
    last = 149 - mask[..., ::-1].argmax(2)
    np.testing.assert_array_equal(packed.last_column(bits)[some], last[some])


def test_spans():
    first, last = np.array([0, 5, 60, 64, 127, 9]), np.array([0, 140, 70, 127, 127, 8])
    columns = np.arange(192)
    expected = (columns >= first[:, None]) & (columns <= last[:, None])
    np.testing.assert_array_equal(packed.unpack(packed.spans(first, last, 3), 192), expected)
