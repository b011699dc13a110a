"""Target codes have known distances, or distances that grow with the difference in size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import pdist, squareform

from inres.learning import codebooks


@pytest.mark.parametrize(("classes", "bits"), [(2, 16), (8, 16), (16, 16), (8, 64), (32, 16)])
def test_hadamard_centres_are_half_of_the_bits_apart(classes, bits):
    found = codebooks.centres(classes, bits, seed=0)
    distances = pdist(found, "hamming") * bits
    assert set(distances) <= {bits / 2, bits}
    assert codebooks.least_distance(found) == distances.min()
    if classes < bits:
        assert (found.sum(axis=1) == bits / 2).all()


@pytest.mark.parametrize(("classes", "bits", "least"), [(8, 48, 24), (8, 12, 6), (2, 12, 12)])
def test_other_lengths_have_balanced_centres_far_apart(classes, bits, least):
    found = codebooks.centres(classes, bits, seed=3)
    assert (found.sum(axis=1) == bits // 2).all()
    assert (pdist(found, "hamming") * bits).min() >= least
    np.testing.assert_array_equal(found, codebooks.centres(classes, bits, seed=3))
    assert (found != codebooks.centres(classes, bits, seed=4)).any()


def test_too_few_bits_are_refused():
    with pytest.raises(ValueError, match="3 bits have 3 balanced codes for 8 classes"):
        codebooks.centres(8, 3, seed=0)


def test_a_known_diameter_moves_within_its_class():
    labels = np.array([0, 2, 2, 2, 2, 5, 5, 7])
    diameters = np.array([0, 5.2, 5.1, 5.9, np.nan, 15.0, 15.0, 30.0])
    middle = np.array([np.nan, 0, 0, 0, 0, 1, 1, 2]) / 2
    np.testing.assert_allclose(codebooks.sizes(labels, diameters, by_diameter=0.0), middle)
    # Mid-ranks as SciPy has them, (rank - 1/2) / n, here of three known diameters.
    share = (stats.rankdata([5.2, 5.1, 5.9]) - 0.5) / 3
    found = codebooks.sizes(labels, diameters, by_diameter=1.0)
    low = share.min() - 0.5
    np.testing.assert_allclose(found[1:4], (share - 0.5 - low) / (2 - low))
    np.testing.assert_allclose(found[4:], (np.array([0, 1, 1, 2]) - low) / (2 - low))


@given(st.integers(2, 128), st.lists(st.floats(0, 1), min_size=2, max_size=12, unique=True))
def test_the_distance_of_two_nodules_is_that_of_their_sizes(bits, positions):
    position = np.array(positions)
    codes = codebooks.ordinal(position, bits)
    assert codes.dtype == np.float32
    assert codes.shape == (len(position), bits)
    want = bits * np.abs(position[:, None] - position)
    np.testing.assert_allclose(squareform(pdist(codes, "cityblock")), want, atol=1e-4 * bits)


def test_distances_grow_with_the_class_and_normals_stand_apart():
    labels = np.arange(8)
    position = codebooks.sizes(labels, np.full(8, np.nan), by_diameter=0.5)
    for bits in (16, 48, 64):
        codes = codebooks.ordinal(position, bits) >= 0.5
        distance = squareform(pdist(codes, "hamming")) * bits
        for row in range(1, 8):
            assert (np.diff(distance[row, row:]) > 0).all()
            assert (np.diff(distance[row, 1 : row + 1]) < 0).all()
        largest = distance[1:, 1:].max()
        assert distance[0, 1:].min() >= largest - 2
        assert distance[0, 1:].min() > 0.55 * bits


def test_one_size_leaves_nodule_or_not():
    labels = np.array([0, 1, 1])
    codes = codebooks.ordinal(codebooks.sizes(labels, np.full(3, np.nan), by_diameter=1.0), 12)
    np.testing.assert_array_equal(codes, np.repeat([[0.0], [1.0], [1.0]], 12, axis=1))
