"""Reading, geometry and resampling, with SimpleITK's own physical points as the oracle."""

import gzip
import shutil
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from ct.trees import grid_world, to_image
from hypothesis import given, settings
from hypothesis import strategies as st

from inres import files
from inres.ct import scan
from inres.ct.scan import ScanError, Volume


def rotation(degrees, axis):
    turn = sitk.VersorTransform(axis, np.deg2rad(degrees))
    return np.array(turn.GetMatrix()).reshape(3, 3)


def ramp_volume(size_xyz, spacing, origin, direction, gradient=(2.0, -3.0, 1.5)):
    """A volume whose HU are a linear function of the world position, times ten."""
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

NOISE = np.random.default_rng(0).integers(-1000, 1000, (6, 16, 20)).astype(np.int16)
FORMATS = ("mhd", "mha", "nrrd", "nii", "nii.gz")


def write(path, array=NOISE, *, compress=True):
    image = to_image(array, (0.7, 0.8, 2.5), (-100, 50, 20), np.diag([-1.0, -1.0, 1.0]))
    sitk.WriteImage(image, str(path), compress)
    return path


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


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("share", [0.4, 0.98])
def test_truncated_data_is_named(tmp_path, suffix, compress, share):
    path = write(tmp_path / f"a.{suffix}", compress=compress)
    data = path
    if suffix == "mhd":
        data = path.with_suffix(".zraw" if compress else ".raw")
    content = data.read_bytes()
    data.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ScanError, match=r"truncated.*fetch it again") as error:
        scan.read_scan(path)
    assert str(data) in str(error.value) or str(path) in str(error.value)
    if suffix == "mhd" or (suffix in ("mha", "nii") and not compress):
        with pytest.raises(ScanError, match="truncated"):
            scan.read_header(path)


@pytest.mark.parametrize("suffix", ["mhd", "nrrd", "nii.gz"])
def test_damaged_compressed_data_is_named(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}")
    data = path.with_suffix(".zraw") if suffix == "mhd" else path
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 0xFF
    data.write_bytes(bytes(content))
    with pytest.raises(ScanError, match=r"damaged|not an image"):
        scan.read_scan(path)


def test_truncated_zraw_without_a_stated_size(tmp_path):
    path = write(tmp_path / "a.mhd")
    lines = path.read_text().splitlines()
    files.write_text(path, "\n".join(x for x in lines if "CompressedDataSize" not in x) + "\n")
    np.testing.assert_array_equal(scan.read_scan(path).hu, NOISE)
    data = path.with_suffix(".zraw")
    data.write_bytes(data.read_bytes()[:-40])
    with pytest.raises(ScanError, match="truncated"):
        scan.read_scan(path)


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
    with pytest.raises(ScanError, match=r"text\.nrrd.*not an image"):
        scan.read_scan(other)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ScanError, match="without a DICOM series"):
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


# DICOM


def write_dicom(folder, heights, *, uid="1.2.3", tilt=0.0, start=0):
    """One file a slice of NOISE, in shuffled names, at `heights` along z."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for n, height in enumerate(heights):
        image = sitk.GetImageFromArray(NOISE[n % 6])
        image.SetSpacing((0.5, 0.5))
        for key, value in {
            "0008|0060": "CT", "0020|000e": uid, "0020|000d": "1.2", "0008|0018": f"{uid}.{n}",
            "0020|0032": rf"-10\{20 + tilt * height:g}\{height:g}",
            "0020|0037": r"1\0\0\0\1\0", "0018|0050": "2",
            "0028|1052": "-1000", "0028|1053": "1",
        }.items():  # fmt: skip
            image.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"{(start + n * 7) % 23:02d}-{uid}.dcm"))
        writer.Execute(image)
    return folder


def test_dicom_series_is_ordered_by_position(tmp_path):
    folder = write_dicom(tmp_path / "d", [4.0, 0.0, 2.0, 6.0])
    volume = scan.read_scan(folder)
    np.testing.assert_array_equal(volume.hu, NOISE[[1, 2, 0, 3]])
    np.testing.assert_allclose(volume.spacing_mm, (0.5, 0.5, 2.0))
    np.testing.assert_allclose(volume.origin_mm, (-10, 20, 0))
    assert scan.read_header(folder).shape == (4, 16, 20)


def test_several_series_must_be_told_apart(tmp_path):
    folder = write_dicom(tmp_path / "d", [0.0, 2.0])
    write_dicom(folder, [0.0, 2.0, 4.0], uid="1.2.4")
    with pytest.raises(ScanError, match=r"2 DICOM series \(.*1\.2\.3.*1\.2\.4.*\)"):
        scan.read_scan(folder)
    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder))
    sizes = sorted(len(scan.read_scan(folder, series_uid=uid).hu) for uid in found)
    assert sizes == [2, 3]
    with pytest.raises(ScanError, match=r"no series 9\.9"):
        scan.read_scan(folder, series_uid="9.9")


def test_copies_of_a_slice(tmp_path):
    folder = write_dicom(tmp_path / "d", [0.0, 2.0, 4.0])
    first = sorted(folder.iterdir())[0]
    shutil.copy(first, folder / "zz.dcm")
    with pytest.warns(UserWarning, match=f"copy of .*{first.name}"):
        assert len(scan.read_scan(folder).hu) == 3
    clash = write_dicom(tmp_path / "c", [0.0, 2.0, 2.0])
    with pytest.raises(ScanError, match=r"two different slices at the same position \(2 mm\)"):
        scan.read_scan(clash)


def test_missing_slices_and_tilt_are_errors(tmp_path):
    with pytest.raises(ScanError, match=r"4 mm between .* slices are missing"):
        scan.read_scan(write_dicom(tmp_path / "hole", [0.0, 2.0, 4.0, 8.0, 10.0]))
    with pytest.raises(ScanError, match="tilted gantry"):
        scan.read_scan(write_dicom(tmp_path / "tilt", [0.0, 2.0, 4.0, 6.0], tilt=0.3))


def test_real_dicom_slices(real_data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        volume = scan.read_scan(real_data("dicom_slices"))
    assert volume.hu.shape == (2, 512, 512)
    assert volume.spacing_mm == (0.625, 0.625, 1.0)
    assert volume.hu.min() == -2048


# Single images


def test_images_of_all_kinds(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for suffix in ("png", "bmp", "tif"):
        path = tmp_path / f"grey.{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(grey), str(path))
        np.testing.assert_array_equal(scan.read_image(path), grey)
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[0, 0], colour[0, 1], colour[1, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    colour[1, 1] = 100
    path = tmp_path / "colour.png"
    sitk.WriteImage(sitk.GetImageFromArray(colour, isVector=True), str(path))
    np.testing.assert_array_equal(scan.read_image(path), [[76, 150], [29, 100]])
    alpha = np.dstack([colour, np.full((2, 2), 7, np.uint8)])
    path = tmp_path / "alpha.png"
    sitk.WriteImage(sitk.GetImageFromArray(alpha, isVector=True), str(path))
    np.testing.assert_array_equal(scan.read_image(path), [[76, 150], [29, 100]])
    np.testing.assert_array_equal(scan.read_image(write(tmp_path / "a.mha")), NOISE)
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(ScanError, match=r"no\.png.*not an image"):
        scan.read_image(tmp_path / "no.png")


def test_grey8_by_type():
    window = {"hu_min": -1200.0, "hu_max": 600.0, "name": "a.png"}
    eight = np.array([[0, 7, 255]], np.uint8)
    np.testing.assert_array_equal(scan.to_grey8(eight, **window), eight)
    hu = np.array([-3000, -1200, -300, 600, 3000], np.int16)
    np.testing.assert_array_equal(scan.to_grey8(hu, **window), [0, 0, 128, 255, 255])
    np.testing.assert_array_equal(scan.to_grey8(np.array([np.nan, -300.0]), **window), [0, 128])
    full = np.array([0, 257, 65535], np.uint16)
    np.testing.assert_array_equal(scan.to_grey8(full, **window), [0, 1, 255])
    with pytest.raises(ScanError, match=r"a\.png: uint32"):
        scan.to_grey8(np.array([0, 4000], np.uint32), **window)


def test_twelve_bits_in_sixteen_are_told():
    assert "from 0 to 4095" in scan.twelve_bits(0, 4095)
    assert scan.twelve_bits(32768, 32768 + 3000)
    assert not scan.twelve_bits(0, 4096)
    assert not scan.twelve_bits(7, 7)  # blank


def test_gz_check_reads_other_packers(tmp_path):
    path = write(tmp_path / "a.nii", compress=False)
    packed = tmp_path / "b.nii.gz"
    with gzip.open(packed, "wb", compresslevel=1) as file:
        file.write(path.read_bytes())
    np.testing.assert_array_equal(scan.read_scan(packed).hu, NOISE)
