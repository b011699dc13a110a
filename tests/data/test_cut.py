"""A scan on the grid of the items."""

import pytest
import SimpleITK as sitk
from data.chests import (
    make_config,
)

from inres.ct.header import ScanError
from inres.data.cut import cut_scan

pytestmark = pytest.mark.slow


def test_a_scan_without_air_is_no_hu(tree):
    path = sorted(tree.glob("subset*/*.mhd"))[0]
    image = sitk.ReadImage(str(path))
    shifted = sitk.Cast(image + 2048, sitk.sitkUInt16)
    shifted.CopyInformation(image)
    sitk.WriteImage(shifted, str(tree.parent / "raised.mha"))
    with pytest.raises(ScanError, match=r"raised\.mha: values \d+ to \d+ are not HU.*subtract"):
        cut_scan(tree.parent / "raised.mha", make_config(tree).items)
