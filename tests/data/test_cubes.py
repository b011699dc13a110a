import numpy as np
import pytest
from scipy import ndimage

from inres.ct.image import to_uint8
from inres.data.cubes import cube_from_stack, cube_from_volume

SPACING = (0.7, 0.8, 1.25)  # x, y, z
SHAPE = (41, 60, 66)  # z, y, x
CENTRE = np.array([20.3, 30.6, 33.1])  # z, y, x
RADII = np.array([5.0, 7.0, 9.0])  # mm, z, y, x


def ellipsoid(points_mm, radii=RADII):
    """A soft ellipsoid of 40 HU in air of -900 HU, its edge 2 mm wide. points_mm: [..., z y x]."""
    norm = np.linalg.norm(points_mm / radii, axis=-1)
    outside = (norm - 1) * radii.min()
    return -900 + 940 * np.clip(0.5 - outside / 2, 0, 1)


def scan():
    index = np.moveaxis(np.indices(SHAPE), 0, -1)
    return ellipsoid((index - CENTRE) * SPACING[::-1])


def grid(side_px, step):
    """Points of a cube in mm, [y, x, z] -> z, y, x."""
    o = (np.arange(side_px) - (side_px - 1) / 2) * step
    y, x, z = np.meshgrid(o, o, o, indexing="ij")
    return np.stack([z, y, x], axis=-1)


# Where a slope of 470 HU/mm begins, interpolation over 1.25 mm errs by up to 470 * 1.25 / 4 HU. A
# coarser cube is smoothed as well.
@pytest.mark.parametrize(("side_px", "tolerance"), [(31, 150), (32, 150), (17, 250)])
def test_a_body_is_recovered_from_a_scan_of_any_spacing(side_px, tolerance):
    values, known = cube_from_volume(
        scan(), CENTRE, spacing_mm=SPACING, side_mm=24.0, side_px=side_px
    )
    assert values.shape == known.shape == (side_px,) * 3
    assert values.dtype == np.float32
    assert known.all()
    want = ellipsoid(grid(side_px, 24.0 / side_px))
    assert np.abs(values - want).max() < tolerance
    assert np.abs(values - want).mean() < tolerance / 25
    # The volume, in mm^3: this would show an exchange of axes or a wrong scale.
    inside = (values > -430).sum() * (24.0 / side_px) ** 3
    assert inside == pytest.approx(4 / 3 * np.pi * RADII.prod(), rel=0.05)
    half = side_px // 2
    lines = values[:, half, half], values[half, :, half], values[half, half, :]
    widths = [(line > -430).sum() * 24.0 / side_px / 2 for line in lines]
    np.testing.assert_allclose(widths, RADII[[1, 2, 0]], atol=24.0 / side_px)


def test_a_cube_of_the_scans_own_voxels_is_a_part_of_it():
    rng = np.random.default_rng(0)
    hu = rng.integers(-1000, 400, (9, 10, 11)).astype(np.int16)
    values, known = cube_from_volume(hu, (4, 5, 6), spacing_mm=(2, 2, 2), side_mm=10, side_px=5)
    np.testing.assert_array_equal(values, hu[2:7, 3:8, 4:9].transpose(1, 2, 0))
    assert known.all()


def test_beyond_the_scan_nothing_is_known():
    hu = np.zeros((9, 10, 11), np.int16)
    values, known = cube_from_volume(hu, (0, 5, 9), spacing_mm=(1, 1, 1), side_mm=5, side_px=5)
    want = np.zeros((5, 5, 5), bool)
    want[:, :4, 2:] = True  # the last x of the scan is the cube's fourth; below z = 0 is nothing
    np.testing.assert_array_equal(known, want)
    np.testing.assert_array_equal(values, np.where(want, 0, -1024))
    far = cube_from_volume(hu, (50, -30, 5), spacing_mm=(1, 1, 1), side_mm=5, side_px=5)
    assert not far[1].any()


def test_fine_structure_does_not_alias():
    """Stripes of one voxel are grey at a quarter of the resolution, whatever their phase."""
    stripes = np.broadcast_to(np.where(np.arange(80) % 2, 400, -1000), (80, 80, 80))
    for shift in (0, 1):
        values, _ = cube_from_volume(
            stripes, (40, 40, 40 + shift), spacing_mm=(1, 1, 1), side_mm=64, side_px=16
        )
        np.testing.assert_allclose(values, -300, atol=30)


def test_only_the_part_around_the_cube_is_copied():
    hu = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.int16), (5000, 5000, 5000), (0, 0, 0)
    )  # 250 GB as a copy
    values, _ = cube_from_volume(hu, (100, 2000, 4990), spacing_mm=(1, 1, 1), side_mm=8, side_px=8)
    assert values.shape == (8, 8, 8)


def stack(count, *, gap, pixels=64, width=32.0):
    """Slices of the body `gap` mm apart, and their positions."""
    z = (np.arange(count) - count // 2) * gap
    o = (np.arange(pixels) - (pixels - 1) / 2) * width / pixels
    zs, ys, xs = np.meshgrid(z, o, o, indexing="ij")
    hu = ellipsoid(np.stack([zs, ys, xs], axis=-1))
    return to_uint8(hu, hu_min=-1000, hu_max=400), z


def test_a_stack_and_a_scan_give_the_same_cube():
    planes, z = stack(25, gap=1.25)
    size = dict(side_mm=22.0, side_px=21)
    found, known = cube_from_stack(planes, z, 0.0, width_mm=32.0, **size)
    assert found.dtype == np.uint8
    assert known.all()
    values, _ = cube_from_volume(
        planes.astype(np.float32), (12, 31.5, 31.5), spacing_mm=(0.5, 0.5, 1.25), **size
    )
    assert np.abs(found - values).max() <= 0.51
    hu = ellipsoid(grid(21, 22 / 21))
    assert np.abs(found - to_uint8(hu, hu_min=-1000, hu_max=400).astype(float)).mean() < 2


def test_what_a_stack_knows_ends_half_a_slice_beyond_it():
    planes, z = stack(3, gap=2.5)
    values, known = cube_from_stack(planes, z, 0.0, width_mm=32.0, side_mm=21.0, side_px=21)
    offsets = np.arange(21) - 10
    np.testing.assert_array_equal(known, np.abs(offsets) <= 3.75)
    assert not values[:, :, ~known].any()
    # Between two slices, both count by their distance; beyond the last, it alone.
    image = cube_from_stack(planes[[1]], z[[1]], 0.0, width_mm=32.0, side_mm=21.0, side_px=21)[0]
    upper = cube_from_stack(planes[[2]], z[[2]], 2.5, width_mm=32.0, side_mm=21.0, side_px=21)[0]
    middle, top = image[..., 10].astype(float), upper[..., 10].astype(float)
    np.testing.assert_array_equal(values[..., 10], middle)
    np.testing.assert_allclose(values[..., 11], 0.6 * middle + 0.4 * top, atol=1.1)
    np.testing.assert_array_equal(values[..., 13], top)


@pytest.mark.parametrize(("side_px", "count"), [(21, 1), (20, 2)])
def test_a_single_slice_knows_the_central_plane(side_px, count):
    planes, _ = stack(1, gap=1)
    values, known = cube_from_stack(
        planes, np.array([7.5]), 7.5, width_mm=32.0, side_mm=20.0, side_px=side_px
    )
    assert known.sum() == count
    assert known[side_px // 2]
    step = 20.0 / side_px
    o = (np.arange(side_px) - (side_px - 1) / 2) * step / 0.5 + 31.5
    smooth = ndimage.gaussian_filter(planes[0].astype(float), (step / 0.5 - 1) / 2, mode="nearest")
    want = ndimage.map_coordinates(smooth, np.meshgrid(o, o, indexing="ij"), order=1)
    assert np.abs(values[..., side_px // 2] - want).max() <= 0.51


def test_the_order_of_slices_and_a_common_shift_do_not_matter():
    planes, z = stack(5, gap=1.5)
    size = dict(width_mm=32.0, side_mm=16.0, side_px=15)
    want, known = cube_from_stack(planes, z, 0.5, **size)
    order = [3, 0, 4, 2, 1]
    got, same = cube_from_stack(planes[order], z[order] - 90, -89.5, **size)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(same, known)
    upside, _ = cube_from_stack(planes, -z, -0.5, **size)
    np.testing.assert_array_equal(upside, want[..., ::-1])


@pytest.mark.parametrize(
    ("z", "side_mm", "message"),
    [
        ([0.0, 1.0, 1.0], 16, "0, 1, 1"),
        ([0.0, np.nan, 1.0], 16, "nan"),
        ([0.0, 1.0, 2.0], 33, "33 mm wide, but the slices only 32 mm"),
    ],
)
def test_stacks_that_cannot_be_cut_are_refused(z, side_mm, message):
    planes, _ = stack(3, gap=1)
    with pytest.raises(ValueError, match=message):
        cube_from_stack(planes, np.array(z), 0.0, width_mm=32.0, side_mm=side_mm, side_px=9)
