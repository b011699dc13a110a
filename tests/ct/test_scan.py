"""Reading, geometry and resampling, compared with SimpleITK's own physical points."""

import numpy as np
import pytest
import SimpleITK as sitk
from ct.scans import FORMATS, NOISE, write
from ct.trees import grid_world, to_image
from hypothesis import given, settings
from hypothesis import strategies as st

from inres.ct import scan
from inres.ct.header import ScanError
from inres.ct.scan import Volume


def rotation(degrees, axis):
    turn = sitk.VersorTransform(axis, np.deg2rad(degrees))
    return np.array(turn.GetMatrix()).reshape(3, 3)


def ramp_volume(size_xyz, spacing, origin, direction, gradient=(2.0, -3.0, 1.5)):
    """A volume whose HU are ten times a linear function of the world position."""
    world = grid_world(size_xyz, spacing, origin, direction)
    hu = np.rint(10 * (world @ np.array(gradient))).astype(np.int16)
    return Volume(
        hu=hu, spacing_mm=spacing, origin_mm=tuple(origin), direction=np.array(direction, float)
    )


def ramp_error(volume, gradient=(2.0, -3.0, 1.5), trim=2):
    """Largest difference from the ramp, away from the border."""
    world = volume.index_to_world(np.moveaxis(np.indices(volume.hu.shape), 0, -1))
    error = np.abs(volume.hu - 10 * (world @ np.array(gradient)))
    return error[trim:-trim, trim:-trim, trim:-trim].max()


signed_permutations = st.builds(
    lambda order, signs: np.eye(3)[list(order)] * np.array(signs),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3),
)
spacings = st.tuples(*[st.floats(0.4, 3.0)] * 3)
origins = st.tuples(*[st.floats(-400, 400)] * 3)


@settings(max_examples=40, deadline=None)
@given(
    spacings, origins, signed_permutations, st.floats(0, 30), st.tuples(*[st.floats(-5, 20)] * 3)
)
def test_affine_equals_simpleitk(spacing, origin, axes, degrees, index):
    direction = axes @ rotation(degrees, (1, 2, 3))
    image = to_image(np.zeros((4, 5, 6), np.int16), spacing, origin, direction)
    volume = Volume(
        hu=np.zeros((4, 5, 6), np.int16), spacing_mm=spacing, origin_mm=origin, direction=direction
    )
    world = np.array(image.TransformContinuousIndexToPhysicalPoint(index))
    np.testing.assert_allclose(volume.index_to_world(index[::-1]), world, atol=1e-6)
    np.testing.assert_allclose(volume.world_to_index(world), index[::-1], atol=1e-6)


@settings(max_examples=24, deadline=None)
@given(signed_permutations, spacings, origins)
def test_canonical_is_simpleitk_orientation_and_keeps_values(axes, spacing, origin):
    hu = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    volume = Volume(hu=hu, spacing_mm=spacing, origin_mm=origin, direction=axes)
    result = scan.canonical(volume)
    expected = sitk.DICOMOrient(to_image(hu, spacing, origin, axes), "LPS")
    np.testing.assert_array_equal(result.hu, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(result.origin_mm, expected.GetOrigin(), atol=1e-9)
    np.testing.assert_allclose(result.spacing_mm, expected.GetSpacing())
    np.testing.assert_array_equal(result.direction, np.eye(3))


def test_canonical_resamples_only_oblique_scans():
    slight = ramp_volume((12, 10, 8), (1.0, 1.0, 2.0), (5, 6, 7), rotation(0.01, (0, 0, 1)))
    np.testing.assert_array_equal(scan.canonical(slight).hu, slight.hu)
    oblique = ramp_volume((40, 40, 30), (1.0, 1.2, 1.5), (5, 6, 7), rotation(20, (1, 0, 0)))
    result = scan.canonical(oblique)
    np.testing.assert_array_equal(result.direction, np.eye(3))
    corners = oblique.index_to_world(np.array([(0, 0, 0), (29, 39, 39), (29, 0, 0), (0, 39, 0)]))
    inside = result.world_to_index(corners)
    assert np.all(inside > -1e-6)
    assert np.all(inside < np.array(result.hu.shape))
    z, y, x = (np.array(result.hu.shape) - 1) // 2  # the middle lies within the old scan
    world = result.index_to_world(np.array([z, y, x]))
    assert abs(result.hu[z, y, x] - 10 * (world @ (2.0, -3.0, 1.5))) <= 1
    assert (result.hu == scan.AIR_HU).any(), "corners outside of the oblique scan are air"


@settings(max_examples=15, deadline=None)
@given(spacings, signed_permutations, st.floats(0.8, 2.0))
def test_resampling_keeps_a_ramp_in_world_coordinates(spacing, axes, new):
    volume = ramp_volume((24, 22, 20), spacing, (-30.0, 12.5, 40.0), axes)
    result = scan.resample(volume, new)
    assert result.spacing_mm == (new, new, new)
    trim = 1 + int(np.ceil(max(spacing) / new)) + int(np.ceil(2 * new / min(spacing)))
    if min(result.hu.shape) > 2 * trim:
        assert ramp_error(result, trim=trim) <= 2
    # Both grids cover the same box to within half a new voxel at each side.
    old_extent = np.array(volume.hu.shape[::-1]) * spacing
    new_extent = np.array(result.hu.shape[::-1]) * new
    assert np.all(np.abs(old_extent - new_extent) <= np.maximum(new / 2, new - old_extent) + 1e-9)
    middle_old = volume.index_to_world((np.array(volume.hu.shape) - 1) / 2)
    middle_new = result.index_to_world((np.array(result.hu.shape) - 1) / 2)
    np.testing.assert_allclose(middle_old, middle_new, atol=1e-6)


def test_resampling_leaves_no_air_rim():
    volume = Volume(
        hu=np.full((7, 9, 11), 100, np.int16),
        spacing_mm=(0.7, 0.9, 2.5),
        origin_mm=(0.0, 0.0, 0.0),
        direction=np.eye(3),
    )
    assert np.all(scan.resample(volume, 1.0).hu == 100)
    assert np.all(scan.resample(volume, 4.0).hu == 100)


def test_strong_downsampling_does_not_alias():
    hu = np.zeros((40, 40, 40), np.int16)
    hu[::2] = 1000  # alternating slices: mean 500
    volume = Volume(
        hu=hu, spacing_mm=(1.0, 1.0, 0.25), origin_mm=(0.0, 0.0, 0.0), direction=np.eye(3)
    )
    result = scan.resample(volume, 1.0).hu[2:-2]
    assert np.abs(result - 500).max() < 30


def test_labels_land_on_the_same_world_points():
    labels = ramp_volume((20, 20, 20), (1.0, 1.0, 1.0), (0, 0, 0), np.eye(3))
    flipped = np.diag([-1.0, -1.0, 1.0])
    like = ramp_volume((10, 10, 10), (1.0, 1.0, 1.0), (14.0, 14.0, 3.0), flipped)
    np.testing.assert_array_equal(scan.resample_labels(labels, like), like.hu)
    beyond = ramp_volume((4, 4, 4), (1.0, 1.0, 1.0), (100.0, 0.0, 0.0), np.eye(3))
    assert not scan.resample_labels(labels, beyond).any()


# Files


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("compress", [True, False])
def test_every_format_gives_the_same_scan(tmp_path, suffix, compress):
    path = write(tmp_path / f"a.{suffix}", compress=compress)
    volume = scan.read_scan(path)
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, NOISE)
    np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 2.5), rtol=1e-6)
    np.testing.assert_allclose(volume.origin_mm, (-100, 50, 20), rtol=1e-6)
    np.testing.assert_allclose(volume.direction, np.diag([-1.0, -1.0, 1.0]), atol=1e-6)
    header = scan.read_header(path)
    assert header.shape == (6, 16, 20)
    assert header.thickness_mm == pytest.approx(2.5)
    assert header.contains(volume.index_to_world(np.array([-0.49, 15.49, 0])))
    assert not header.contains(volume.index_to_world(np.array([-0.51, 0, 0])))


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (np.float32, np.nan, scan.AIR_HU),
        (np.float64, -5e4, -32768),
        (np.float32, 2.6, 3),
        (np.uint16, 60000, 32767),
        (np.int32, -60000, -32768),
        (np.uint8, 255, 255),
    ],
)
def test_other_types_become_int16(tmp_path, dtype, value, expected):
    path = write(tmp_path / "a.mha", np.tile(np.array([7, value], dtype), (3, 4, 1)))
    hu = scan.read_scan(path).hu
    assert hu.dtype == np.int16
    assert hu[0, 0].tolist() == [7, expected]


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(ScanError, match="no such file"):
        scan.read_scan(tmp_path / "absent.mhd")
    path = write(tmp_path / "a.mhd")
    path.with_suffix(".zraw").unlink()
    with pytest.raises(ScanError, match=r"a\.zraw is missing"):
        scan.read_header(path)
    text = tmp_path / "text.mhd"
    text.write_text("hello\n")
    with pytest.raises(ScanError, match="not a MetaImage header"):
        scan.read_scan(text)
    other = tmp_path / "text.nrrd"
    other.write_text("hello\n")
    with pytest.raises(ScanError, match=r"text\.nrrd: not a NRRD header"):
        scan.read_scan(other)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ScanError, match="no DICOM series in this folder"):
        scan.read_scan(empty)


def test_flat_and_colour_images_are_no_scans(tmp_path):
    flat = tmp_path / "flat.mha"
    sitk.WriteImage(sitk.GetImageFromArray(NOISE[0]), str(flat))
    with pytest.raises(ScanError, match=r"20x16 .*three dimensions"):
        scan.read_scan(flat)
    colour = tmp_path / "colour.mha"
    pixels = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(pixels, str(colour))
    with pytest.raises(ScanError, match="3 channel"):
        scan.read_scan(colour)
