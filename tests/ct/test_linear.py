"""Linear interpolation along axes compared with SimpleITK and NumPy."""

import functools

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from inres.ct import linear


def noise(shape, low=-1024, high=2000):
    return np.random.default_rng(0).integers(low, high, shape).astype(np.int16)


@pytest.mark.parametrize("step", [(0.4, 1.3, 0.7), (2.5, 1.0, 0.31), (1.0, 1.0, 1.0)])
def test_the_same_as_simpleitk(step):
    values = noise((20, 31, 40))
    shape = tuple(int((n - 1) / s) for n, s in zip(values.shape, step, strict=True))
    first = np.array([0.3, 0.0, 0.71])
    found = linear.resampled(values, first=first, step=np.array(step), shape=shape)
    image = sitk.Resample(
        sitk.GetImageFromArray(values),
        shape[::-1],
        sitk.Transform(),
        sitk.sitkLinear,
        first[::-1].tolist(),
        step[::-1],
    )
    expected = sitk.GetArrayFromImage(image).astype(int)
    assert found.dtype == np.int16
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01  # values that are whole numbers up to rounding


def test_the_extremes_of_the_type_do_not_wrap():
    values = np.array([[[-32768, 32767, -32768]]], np.int16)
    found = linear.resampled(values, first=np.zeros(3), step=np.array([1, 1, 0.5]), shape=(1, 1, 5))
    np.testing.assert_array_equal(found, [[[-32768, 0, 32767, 0, -32768]]])


def test_beyond_the_outer_voxels():
    values = np.array([[[10, 20]]], np.int16)
    found = linear.resampled(
        values, first=np.array([-0.4, 0.3, -0.5]), step=np.array([1, 1, 0.5]), shape=(1, 1, 5)
    )
    np.testing.assert_array_equal(found, [[[10, 10, 15, 20, 20]]])


def test_by_hand():
    values = noise((9, 8, 7))
    step, first, shape = np.array([0.6, 1.2, 0.5]), np.array([0.1, 0.2, 0.3]), (13, 6, 12)
    expected = values.astype(np.float64)
    for axis in range(3):
        at = first[axis] + step[axis] * np.arange(shape[axis])
        line = functools.partial(np.interp, at, np.arange(values.shape[axis]))
        expected = np.apply_along_axis(line, axis, expected)
    found = linear.resampled(values, first=first, step=step, shape=shape)
    assert np.abs(found - np.trunc(expected)).max() <= 1
    assert np.abs(found - expected).max() < 1.001


def test_smoothed_first():
    values = noise((30, 25, 40))
    sigma, step, first = np.array([0.7, 0.0, 1.5]), np.array([2.4, 0.9, 4.0]), np.array([1, 0.3, 2])
    shape = (12, 20, 9)
    expected = ndimage.gaussian_filter(values.astype(np.float64), sigma, mode="nearest")
    for axis in range(3):
        at = first[axis] + step[axis] * np.arange(shape[axis])
        line = functools.partial(np.interp, at, np.arange(values.shape[axis]))
        expected = np.apply_along_axis(line, axis, expected)
    found = linear.resampled(values, first=first, step=step, shape=shape, sigma=sigma)
    assert np.abs(found - expected).max() < 1.01
    assert np.all(
        linear.resampled(np.full_like(values, -777), first=first, step=step, shape=shape, sigma=2.0)
        == -777
    )
