"""Connected pieces compared with SciPy's labels of voxels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from inres.ct.pieces import pieces

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=3, max_dims=3, max_side=9))
IN_PLANE = ndimage.generate_binary_structure(3, 1)
IN_PLANE[[0, 2]] = False


def noise(seed, shape=(12, 40, 70), share=0.4):
    return np.random.default_rng(seed).random(shape) < share


def labelled(mask, in_plane):
    """SciPy's labels, which are numbered from 1 in the same order, and their boxes."""
    labels, count = ndimage.label(mask, IN_PLANE if in_plane else None)
    return labels, count, ndimage.find_objects(labels)


@pytest.mark.parametrize("in_plane", [False, True])
@pytest.mark.parametrize("share", [0.15, 0.4, 0.6, 0.9])
def test_pieces_sizes_and_boxes(in_plane, share):
    mask = noise(0, share=share)
    labels, count, boxes = labelled(mask, in_plane)
    found = pieces(mask, in_plane=in_plane)
    assert found.count == count
    np.testing.assert_array_equal(found.sizes, np.bincount(labels.ravel())[1:])
    low, high = found.boxes
    np.testing.assert_array_equal(low, [[part.start for part in box] for box in boxes])
    np.testing.assert_array_equal(high, [[part.stop for part in box] for box in boxes])
    chosen = np.random.default_rng(1).random(count) < 0.5
    np.testing.assert_array_equal(found.mask(chosen), np.isin(labels, 1 + np.flatnonzero(chosen)))
    edges = [labels[:, 0], labels[:, -1], labels[..., 0], labels[..., -1]]
    reached = sum(np.isin(1 + np.arange(count), edge) for edge in edges)
    np.testing.assert_array_equal(found.edges(), reached)


@given(MASKS, st.booleans())
def test_any_mask(mask, in_plane):
    labels, count, _ = labelled(mask, in_plane)
    found = pieces(mask, in_plane=in_plane)
    assert found.count == count
    for n in range(count):
        np.testing.assert_array_equal(found.mask(np.arange(count) == n), labels == n + 1)


def test_sums_over_pieces():
    mask, other = noise(2), noise(3)
    hu = np.random.default_rng(4).integers(-1000, 1000, mask.shape).astype(np.int16)
    labels, count, _ = labelled(mask, False)
    found, numbers = pieces(mask), np.arange(1, count + 1)
    np.testing.assert_array_equal(
        found.voxels_in(other), ndimage.sum_labels(other, labels, numbers)
    )
    before = np.arange(mask.shape[2]) < 33
    np.testing.assert_array_equal(
        found.voxels_before(33), ndimage.sum_labels(mask & before, labels, numbers)
    )
    chosen = np.random.default_rng(5).random(count) < 0.5
    means = np.where(chosen, ndimage.mean(hu, labels, numbers), np.nan)
    np.testing.assert_allclose(found.means(hu, chosen), means, rtol=1e-12)


def test_some_pieces_of_planes_joined_in_three_dimensions():
    mask = noise(6)
    flat = pieces(mask, in_plane=True)
    chosen = flat.sizes > 3
    joined, alone = flat.joined(chosen), pieces(flat.mask(chosen))
    assert joined.count == alone.count
    np.testing.assert_array_equal(joined.sizes, alone.sizes)
    np.testing.assert_array_equal(joined.label, alone.label)


def test_the_first_of_the_largest_is_chosen():
    found = pieces(np.array([[[1, 0, 1, 1, 0, 1, 1]]], bool))
    assert found.most(found.sizes).tolist() == [False, True, False]
    assert not found.most(np.zeros(3)).any()


def test_nothing():
    found = pieces(np.zeros((3, 4, 5), bool))
    assert found.count == 0
    assert not found.mask(found.most(found.sizes)).any()
    assert not len(found.edges())
    assert not len(found.voxels_in(np.ones((3, 4, 5), bool)))
