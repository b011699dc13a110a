"""Values that are HU, and values that are not, with and without padding."""

import numpy as np
import pytest
from ct.trees import chest_image

from inres.ct.hu import image_problem, measured, scan_problem, to_int16


@pytest.fixture(scope="module")
def chest():
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(chest_image(((60.0, 0.0, 0.0, 12.0),))[0]).astype(int)


@pytest.fixture(scope="module")
def outside(chest):
    """Where a round field of view ends."""
    _, y, x = np.indices(chest.shape)
    middle = np.array(chest.shape[1:]) / 2
    return ((y - middle[0]) / middle[0]) ** 2 + ((x - middle[1]) / middle[1]) ** 2 > 1


PADDING = (None, -1024, -2000, -2048, -3024, -32768)


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("clipped", [False, True])
def test_a_chest_has_hu_whatever_its_padding(chest, outside, padding, clipped):
    hu = np.maximum(chest, -1024) if clipped else chest.copy()
    if padding is not None:
        hu[outside] = padding
    assert scan_problem(hu.astype(np.int16)) == ""


@pytest.mark.parametrize("padding", [*PADDING, 0])
@pytest.mark.parametrize(
    "spoilt",
    [
        lambda hu: hu + 1024,
        lambda hu: hu + 1000,
        lambda hu: hu - 1024,
        lambda hu: -hu,
        lambda hu: hu // 10,
        lambda hu: hu * 10,
        lambda hu: (hu + 1024) * 16,
        lambda hu: (hu + 1000) * 255 // 1400,
        lambda hu: (hu + 1000) // 20,
        lambda hu: np.rint(hu / 1000).astype(int),
        lambda hu: hu.astype(np.int16).byteswap().astype(int),
        lambda hu: hu - 32768,
    ],
    ids=[
        *("offset 1024", "offset 1000", "offset twice", "sign", "tenth", "tenfold", "left shift"),
        *("8 bits", "percent", "-1 to 1", "byte order", "offset 32768"),
    ],
)
def test_other_values_are_no_hu_whatever_their_padding(chest, outside, padding, spoilt):
    hu = np.clip(spoilt(chest), -32768, 32767)
    if padding is not None:
        hu[outside] = padding
    assert scan_problem(hu.astype(np.int16))


@pytest.mark.parametrize("value", [-1000, 0, 40, -2000, 32767])
def test_a_constant_is_no_scan(value):
    assert scan_problem(np.full((4, 30, 30), value, np.int16))


def test_large_scans_are_sampled(chest, outside):
    hu = np.where(outside, -2000, chest + 1024).astype(np.int16)
    assert "no voxel is air or lung" in scan_problem(np.tile(hu, (2, 2, 2)))


def test_images_reach_from_lung_to_tissue():
    assert image_problem(-900, 40) == image_problem(-200, -499) == ""
    assert "the lowest value, 24, is too high for a lung" in image_problem(24, 1084)
    assert "the highest value, -964, is too low for tissue" in image_problem(-1200, -964)


def test_what_is_no_number_is_air():
    values = np.array([np.nan, np.inf, -np.inf, 12.6, 5e4, -5e4])
    assert to_int16(values).tolist() == [-1024, -1024, -1024, 13, 32767, -32768]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([-2000, -1500, -1000, 40], np.int16), [-1500, -1000, 40]),
        (np.array([np.nan, -np.inf, np.inf, 7.5]), [7.5]),
        (np.array([24, 1084, 600, 63536, 63536], np.uint16), [24, 1084, 600]),
        (np.array([0, 0, 31768, 33168, 32000], np.uint16), [31768, 33168, 32000]),
        (np.array([0, 30000, 65535], np.uint16), [30000]),
        (np.array([0, 5, 255], np.uint8), [0, 5, 255]),
        (np.array([0, 65535], np.uint16), [0, 65535]),
        (np.arange(0, 65536, 4095, dtype=np.uint16), np.arange(0, 65536, 4095)),
    ],
)
def test_padding_of_images_is_no_measurement(values, expected):
    np.testing.assert_array_equal(measured(values), expected)
