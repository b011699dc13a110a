"""Baseline features against scikit-image and their own definitions."""

import numpy as np
from skimage.feature import hog as reference_hog

from inres.evaluation import baselines


def test_hog_is_that_of_scikit_image_in_8_bits_and_separates_edge_directions():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 32)).astype(np.uint8)
    expected = reference_hog(images[1], pixels_per_cell=(8, 8), cells_per_block=(2, 2))
    found = baselines.hog(images)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[1] / 255, expected, atol=0.5 / 255 + 1e-9)
    stripes = np.tile(np.uint8([0, 0, 255, 255]), (32, 8))
    upright, brighter, flat = baselines.hog(np.stack([stripes, stripes // 2, stripes.T])).astype(
        int
    )
    assert np.abs(upright - brighter).max() <= 3  # blocks are normalized by contrast
    assert np.abs(upright - flat).max() > 30
    assert baselines.hog(np.zeros((2, 10, 10), np.uint8)).shape == (2, 36)
