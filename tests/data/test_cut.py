"""A scan on the grid of the items."""

import numpy as np
import pytest
import SimpleITK as sitk
from data.chests import (
    make_config,
)

from inres.config import Items
from inres.ct.header import ScanError
from inres.ct.scan import Volume
from inres.data import cubes
from inres.data.cut import Cut, cut_scan

pytestmark = pytest.mark.slow


def test_a_scan_without_air_is_no_hu(tree):
    path = sorted(tree.glob("subset*/*.mhd"))[0]
    image = sitk.ReadImage(str(path))
    shifted = sitk.Cast(image + 2048, sitk.sitkUInt16)
    shifted.CopyInformation(image)
    sitk.WriteImage(shifted, str(tree.parent / "raised.mha"))
    with pytest.raises(ScanError, match=r"raised\.mha: values \d+ to \d+ are not HU.*subtract"):
        cut_scan(tree.parent / "raised.mha", make_config(tree).items)


def test_beside_a_scan_a_cube_is_outside_the_lungs_and_above_it_unknown():
    hu = np.full((20, 20, 20), 40, np.int16)
    volume = Volume(hu=hu, spacing_mm=(1, 1, 1), origin_mm=(0, 0, 0), direction=np.eye(3))
    mask = np.ones(hu.shape, bool)
    items = Items(spacing_mm=1.0, canvas_mm=20.0, crop_mm=20.0, view="cube", cube_mm=9.0, cube_px=9)
    cut = Cut(None, volume, mask, None, mask, (10, 10), (), items)
    values, states = cut.cube(np.array([1.0, 18.0, 10.0]))  # z, y, x
    beside, below = np.arange(9) > 5, np.arange(9) < 3
    want = np.full((9, 9, 9), cubes.LUNG)
    want[beside] = cubes.OUTSIDE
    want[:, :, below] = cubes.UNKNOWN
    np.testing.assert_array_equal(states, want)
    assert (values[want == cubes.LUNG] > 0).all()
    assert not values[want != cubes.LUNG].any()
