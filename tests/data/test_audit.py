"""The three-plane estimate compared with a sphere of voxels and with closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from inres.ct.lungs import coverage
from inres.data.audit import PLANE_OFFSET, sphere_coverage


def planes(mask, center, radius):
    """The three planes as in the item store: the nearest slices."""
    heights = [center[0] + t * PLANE_OFFSET * radius for t in (-1, 0, 1)]
    return np.stack([mask[round(z)] for z in heights])


@settings(max_examples=30, deadline=None)
@given(
    st.floats(1.5, 15), st.tuples(*[st.floats(24, 26)] * 3), st.floats(-1.2, 1.2), st.integers(0, 2)
)
def test_half_spaces(radius, center, depth, axis):
    """A flat pleura at any depth: the estimate is close to the share of the voxel sphere."""
    index = np.moveaxis(np.indices((50, 50, 50)), 0, -1)
    mask = index[..., axis] <= center[axis] + depth * radius
    estimate = sphere_coverage(planes(mask, center, radius), center[1:], radius)
    exact = coverage(mask, center, radius)
    # A border between two planes moves the estimate by a plane's whole weight.
    margin = (1 / 3 if axis == 0 else 0.08) + 0.5 / radius
    assert abs(estimate - exact) < margin


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(5, 12))
def test_smooth_random_masks(seed, radius):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(40, 40, 40)), 5)
    mask = field > 0
    center = (20.2, 19.7, 20.4)
    estimate = sphere_coverage(planes(mask, center, radius), center[1:], radius)
    assert abs(estimate - coverage(mask, center, radius)) < 0.15


@pytest.mark.parametrize("radius", [0.3, 1.0, 2.4, 7.0])
def test_uniform_masks_are_exact(radius):
    ones = np.ones((3, 40, 40), np.uint8)
    assert sphere_coverage(ones, (20.3, 19.6), radius) == pytest.approx(1.0)
    assert sphere_coverage(0 * ones, (20.3, 19.6), radius) == 0.0


def test_weights_of_the_planes():
    middle = np.zeros((3, 40, 40), bool)
    middle[1] = True
    assert sphere_coverage(middle, (20, 20), 6.0) == pytest.approx(2 / 3)
    lower = np.zeros((3, 40, 40), bool)
    lower[0] = True
    assert sphere_coverage(lower, (20, 20), 6.0) == pytest.approx(1 / 6)


def test_pixels_outside_the_plane_are_outside_the_mask():
    ones = np.ones((3, 40, 40), bool)
    assert sphere_coverage(ones, (-0.5, 20), 6.0) == pytest.approx(0.5, abs=0.03)
