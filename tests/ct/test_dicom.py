"""Folders of DICOM slices: order, copies, gaps and gantry tilt."""

import shutil
import warnings

import numpy as np
import pytest
import SimpleITK as sitk
from ct.scans import NOISE

from inres.ct import scan
from inres.ct.header import ScanError


def write_dicom(folder, heights, *, uid="1.2.3", tilt=0.0, start=0):
    """Write one file per slice of NOISE, with shuffled names, at `heights` along z."""
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


def test_one_of_several_series_must_be_selected(tmp_path):
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


def test_a_folder_without_slices_gives_one_error_and_no_output(tmp_path, capfd):
    with pytest.raises(ScanError, match="no DICOM series in this folder"):
        scan.read_header(tmp_path)
    assert capfd.readouterr() == ("", "")
