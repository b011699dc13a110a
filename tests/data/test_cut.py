"""A scan on the grid of the items."""

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from data.chests import (
    make_config,
)

from inres.config import Items
from inres.ct.header import ScanError
from inres.ct.scan import Volume, resample
from inres.data import cubes
from inres.data.cut import Cut, cut_scan
from inres.system import memory

pytestmark = pytest.mark.slow


def test_a_scan_without_air_is_no_hu(tree):
    path = sorted(tree.glob("subset*/*.mhd"))[0]
    image = sitk.ReadImage(str(path))
    shifted = sitk.Cast(image + 2048, sitk.sitkUInt16)
    shifted.CopyInformation(image)
    sitk.WriteImage(shifted, str(tree.parent / "raised.mha"))
    with pytest.raises(ScanError, match=r"raised\.mha: values \d+ to \d+ are not HU.*subtract"):
        cut_scan(tree.parent / "raised.mha", make_config(tree).items)


def test_padding_is_air_before_anything_is_interpolated(tree, tmp_path):
    """A round field of view whose outside has an impossible value cuts as one with air there."""
    image = sitk.ReadImage(str(sorted(tree.glob("subset*/*.mhd"))[0]))
    hu = sitk.GetArrayFromImage(image)
    _, y, x = np.indices(hu.shape)
    outside = (y / hu.shape[1] - 0.5) ** 2 + (x / hu.shape[2] - 0.5) ** 2 > 0.25
    cuts = []
    for value in (-1024, -2000, -3024, -32768):
        padded = sitk.GetImageFromArray(np.where(outside, value, hu).astype(np.int16))
        padded.CopyInformation(image)
        sitk.WriteImage(padded, str(tmp_path / "a.mha"))
        cuts.append(cut_scan(tmp_path / "a.mha", make_config(tree).items))
    for other in cuts[1:]:
        np.testing.assert_array_equal(other.volume.hu, cuts[0].volume.hu)
        np.testing.assert_array_equal(other.mask, cuts[0].mask)
        assert other.messages == ()


def test_a_scan_with_one_lung_is_reported(tree, tmp_path):
    image = sitk.ReadImage(str(sorted(tree.glob("subset*/*.mhd"))[0]))
    solid = sitk.GetArrayFromImage(image)
    half = solid.shape[2] // 2
    solid[..., half:][solid[..., half:] > -950] = 40
    made = sitk.GetImageFromArray(solid)
    made.CopyInformation(image)
    sitk.WriteImage(made, str(tmp_path / "a.mha"))
    cut = cut_scan(tmp_path / "a.mha", make_config(tree).items)
    (message,) = cut.messages
    assert message.startswith(f"{tmp_path / 'a.mha'}: only one lung found")


def test_a_scan_that_is_too_narrow_for_a_chest_is_reported(tree, tmp_path):
    """A chest whose lengths are in cm, also one that is turned."""
    image = sitk.ReadImage(str(sorted(tree.glob("subset*/*.mhd"))[0]))
    config = dataclasses.replace(make_config(tree).items, spacing_mm=1.0)
    image.SetSpacing([length / 10 for length in image.GetSpacing()])
    for number, axes in enumerate(((0, 1, 2), (0, 2, 1))):
        sitk.WriteImage(sitk.PermuteAxes(image, axes), str(tmp_path / f"{number}.mha"))
        messages = cut_scan(tmp_path / f"{number}.mha", config).messages
        assert any("only 32.3 x 28.8 mm wide, less than a chest; if its" in m for m in messages)


def test_a_scan_that_does_not_fit_in_memory_is_refused(tree, monkeypatch):
    path = sorted(tree.glob("subset*/*.mhd"))[0]
    config = make_config(tree).items
    monkeypatch.setattr(memory, "available_bytes", lambda: 12_000_000)
    assert cut_scan(path, config).mask.any()
    with pytest.raises(ScanError, match=r"mhd: 323 x 288 x 200 mm on voxels of 0\.5 mm: 1\.19 GB"):
        cut_scan(path, dataclasses.replace(config, spacing_mm=0.5))


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


@pytest.mark.parametrize("spacing", [0.3, 0.5, 0.7])
def test_the_central_plane_of_a_cube_is_known_wherever_the_scan_is(spacing):
    """Also where resampling rounds off the end of the scan."""
    for count in range(40, 60):
        hu = np.full((count, 20, 20), 40, np.int16)
        stored = Volume(hu=hu, spacing_mm=(1, 1, spacing), origin_mm=(0, 0, 0), direction=np.eye(3))
        volume = resample(stored, 1.0)
        mask = np.ones(volume.hu.shape, bool)
        items = Items(
            spacing_mm=1.0, canvas_mm=20.0, crop_mm=20.0, view="cube", cube_mm=9.0, cube_px=9
        )
        cut = Cut(None, volume, mask, None, mask, (10, 10), (), items)
        for z in (-0.5, count - 0.5):  # the outer faces
            place = stored.index_to_world(np.array([z, 10.0, 10.0]))
            values, states = cut.cube(volume.world_to_index(place))
            assert (states[:, :, 4] == cubes.LUNG).all()
            assert (values[:, :, 4] > 0).all()
