"""Folders of DICOM slices, compared with the arrays that they were written from."""

import numpy as np
import pytest
import SimpleITK as sitk
from ct.dicom_files import PIXEL_MM, enhanced, pictures, save, slices, store
from pydicom.uid import MRImageStorage

from inres.ct import dicom, scan
from inres.ct.header import ScanError
from inres.ct.image import read_image

HEIGHTS = np.arange(6) * 2.0
HU = pictures(6)


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [3, 0, 5, 1, 4, 2]])
def test_slices_are_ordered_by_position(tmp_path, order):
    folder = save(tmp_path / "d", slices(HU[order], HEIGHTS[order]))
    volume = scan.read_scan(folder)
    np.testing.assert_array_equal(volume.hu, HU)
    np.testing.assert_allclose(volume.spacing_mm, (*PIXEL_MM[::-1], 2.0))
    np.testing.assert_allclose(volume.origin_mm, (-10, 20, 0))
    np.testing.assert_array_equal(volume.direction, np.eye(3))
    mixed = ("InstanceNumber does not follow the positions, which are used",)
    assert volume.notes == (mixed if order[0] == 3 else ())
    assert scan.read_header(folder).shape == volume.hu.shape


TURNS = {
    "feet first, prone": (1, 0, 0, 0, -1, 0),
    "turned by 180 degrees": (-1, 0, 0, 0, -1, 0),
    "decubitus": (0, 1, 0, -1, 0, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.96, 0.28, 0, -0.28, 0.96, 0),
}


@pytest.mark.parametrize("turn", TURNS)
def test_any_direction_is_read_like_simpleitk(tmp_path, turn):
    row, column = np.array(TURNS[turn], float).reshape(2, 3)
    places = np.array([5.0, -7.0, 11.0]) + HEIGHTS[::-1, None] * np.cross(row, column)
    folder = save(tmp_path / "d", slices(HU, places, turn=TURNS[turn]))
    volume = scan.read_scan(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    expected = reader.Execute()
    np.testing.assert_array_equal(volume.hu, sitk.GetArrayFromImage(expected))
    np.testing.assert_allclose(volume.spacing_mm, expected.GetSpacing(), atol=1e-6)
    np.testing.assert_allclose(volume.origin_mm, expected.GetOrigin(), atol=1e-6)
    np.testing.assert_allclose(volume.direction.ravel(), expected.GetDirection(), atol=1e-6)


def test_real_series_is_read_like_simpleitk(real_data):
    folder = next(real_data("lidc_dicom").glob("LIDC-IDRI-0003/*/*"))
    volume = scan.read_scan(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    expected = sitk.GetArrayFromImage(reader.Execute())
    measured = expected > -1500
    np.testing.assert_array_equal(volume.hu[measured], expected[measured])
    assert set(volume.hu[~measured].tolist()) == {scan.AIR_HU}, "-3024 HU outside the field of view"
    np.testing.assert_allclose(volume.origin_mm, reader.Execute().GetOrigin(), atol=1e-6)


def test_real_slices_without_declared_padding(real_data):
    volume = scan.read_scan(real_data("dicom_slices"))
    assert volume.hu.shape == (2, 512, 512)
    assert volume.spacing_mm == (0.625, 0.625, 1.0)
    assert volume.hu.min() == -1051, "-2048 outside the field of view is padding"


def test_series_are_described(tmp_path):
    save(tmp_path / "a", slices(HU, HEIGHTS, ConvolutionKernel="B30f", SeriesDescription="thin"))
    save(tmp_path / "b", slices(HU[:1], [0]))
    series, single = dicom.series_of(tmp_path)
    assert (series.uid, series.patient, series.study_date) == ("1.2.3", "p1", "20010203")
    assert (series.kernel, series.description) == ("B30f", "thin")
    assert (series.thickness_mm, series.slices, series.volume) == (2.0, 6, True)
    assert series.files == tuple(sorted((tmp_path / "a").iterdir()))
    assert (single.folder, single.volume, single.reason) == (
        tmp_path / "b",
        False,
        "a single slice",
    )


def test_one_of_equal_series_must_be_selected(tmp_path):
    folder = save(tmp_path / "d", slices(HU, HEIGHTS))
    save(folder, slices(HU[::-1], HEIGHTS, uid="1.2.4"), prefix="b")
    with pytest.raises(ScanError, match=r"2 series that may be .*1\.2\.3 .*1\.2\.4 .*series_uid"):
        scan.read_scan(folder)
    np.testing.assert_array_equal(scan.read_scan(folder, series_uid="1.2.4").hu, HU[::-1])
    with pytest.raises(ScanError, match=r"no series 9\.9.*1\.2\.3"):
        scan.read_scan(folder, series_uid="9.9")


def test_copies_of_a_slice_are_left_out(tmp_path):
    datasets = slices(HU, HEIGHTS)
    folder = save(tmp_path / "d", [*datasets, datasets[2]])
    volume = scan.read_scan(folder)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ("left out, copies of other slices: 19-6.dcm",)


def test_of_two_slices_at_one_place_the_lower_number_is_kept(tmp_path):
    other = slices(HU[:1] + 5, HEIGHTS[2:3], InstanceNumber=9)
    volume = scan.read_scan(save(tmp_path / "d", [*other, *slices(HU, HEIGHTS)]))
    np.testing.assert_array_equal(volume.hu, HU)
    assert "a different slice at the position of one with a lower InstanceNumber" in volume.notes[0]
    clash = [*slices(HU, HEIGHTS), *slices(HU + 5, HEIGHTS)]
    with pytest.raises(ScanError, match=r"2 different slices at the same position \(z 0 mm\)"):
        scan.read_scan(save(tmp_path / "c", clash))


def test_a_folder_without_slices_gives_one_error_and_no_output(tmp_path, capfd):
    with pytest.raises(ScanError, match="no DICOM series in this folder"):
        scan.read_header(tmp_path)
    assert capfd.readouterr() == ("", "")


def test_a_file_as_an_image_is_in_hu(tmp_path):
    """MONOCHROME1 is not inverted, padding is air, and the position may be unknown."""
    (dataset,) = slices(HU[:1], [0], PhotometricInterpretation="MONOCHROME1")
    values = HU[0].astype(int) + 1024
    values[0] = -2000
    store(dataset, values)
    path = next(save(tmp_path / "a", [dataset]).iterdir())
    expected = HU[0].copy()
    expected[0] = scan.AIR_HU
    np.testing.assert_array_equal(read_image(path), expected)
    for name in ("PixelSpacing", "ImagePositionPatient"):
        delattr(dataset, name)
    np.testing.assert_array_equal(read_image(save(tmp_path / "b", [dataset]) / path.name), expected)
    dataset.RescaleType = "Z_EFF"
    with pytest.raises(ScanError, match=r"00-0\.dcm: RescaleType"):
        read_image(save(tmp_path / "c", [dataset]) / path.name)


def test_frames_as_images_are_in_the_order_of_their_positions(tmp_path):
    path = next(save(tmp_path / "a", [enhanced(HU[::-1], HEIGHTS[::-1])]).iterdir())
    np.testing.assert_array_equal(read_image(path), HU)


def test_other_dicom_images_are_read_as_pictures(tmp_path):
    (dataset,) = slices(HU[:1], [0], Modality="MR", SOPClassUID=MRImageStorage)
    image = read_image(next(save(tmp_path / "a", [dataset]).iterdir()))
    np.testing.assert_array_equal(image, HU[0])
