"""Scans written as DICOM series are those that other programs read."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from inres.ct.scan import read_scan
from inres.phantoms.dicom_series import Series, uid_of, write_series
from inres.phantoms.scan import Scan

FLIPPED = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0)
STRAIGHT = tuple(np.eye(3).ravel())


def make(direction=STRAIGHT, padding=0):
    rng = np.random.default_rng(0)
    hu = rng.integers(-1024, 1500, (5, 16, 20)).astype(np.int16)
    if padding:
        hu[:, :3, :3] = padding
    return Scan(
        uid="",
        hu=hu,
        lungs=np.zeros_like(hu, np.uint8),
        spacing=(0.75, 0.75, 2.5),
        origin=(-8.25, 30.5, -200.0),
        direction=direction,
        annotations=(),
        excluded=(),
    )


SERIES = Series(patient="p", series_uid=uid_of("series"), study_uid=uid_of("study"))


@pytest.mark.parametrize("direction", [STRAIGHT, FLIPPED])
@pytest.mark.parametrize("padding", [0, -2000, -3024])
def test_simpleitk_reads_the_same_scan(tmp_path, direction, padding):
    scan = make(direction, padding)
    write_series(tmp_path / "s", scan, SERIES)
    (uid,) = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(tmp_path / "s"))
    assert uid == SERIES.series_uid
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), scan.hu)
    np.testing.assert_allclose(image.GetSpacing(), scan.spacing)
    np.testing.assert_allclose(image.GetOrigin(), scan.origin)
    np.testing.assert_allclose(image.GetDirection(), scan.direction)
    ours = read_scan(tmp_path / "s")
    np.testing.assert_array_equal(ours.hu, np.maximum(scan.hu, -1024))  # padding is air


def test_slices_are_valid_and_the_same_each_time(tmp_path):
    for name in ("a", "b"):
        write_series(tmp_path / name, make(padding=-3024), SERIES)
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "ab"
    )
    assert first == second
    assert not list(tmp_path.rglob(".*"))
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "a").iterdir())]
    assert [one.InstanceNumber for one in slices] == [1, 2, 3, 4, 5]
    heights = [float(one.ImagePositionPatient[2]) for one in slices]
    assert heights == sorted(heights, reverse=True)
    assert {one.PixelPaddingValue for one in slices} == {-2000}
    assert len({one.SOPInstanceUID for one in slices}) == 5
    assert all(one.SOPInstanceUID == one.file_meta.MediaStorageSOPInstanceUID for one in slices)
