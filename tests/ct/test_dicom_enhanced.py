"""Enhanced multi-frame CT: every frame has its own position and rescale."""

import numpy as np
import pytest
from ct.dicom_files import PIXEL_MM, enhanced, item, pictures, save, slices
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from inres.ct import dicom, scan
from inres.ct.header import ScanError

HEIGHTS = np.arange(8) * 2.0
HU = pictures(8)


@pytest.mark.parametrize(
    "order", [range(8), range(8)[::-1], [0, 2, 4, 6, 1, 3, 5, 7], [3, 1, 7, 0, 2, 6, 5, 4]]
)
def test_frames_in_any_order(tmp_path, order):
    order = list(order)
    folder = save(tmp_path / "d", [enhanced(HU[order], HEIGHTS[order])])
    for path in (folder, next(folder.iterdir())):
        volume = scan.read_scan(path)
        np.testing.assert_array_equal(volume.hu, HU)
        np.testing.assert_allclose(volume.spacing_mm, (*PIXEL_MM[::-1], 2.0))
        np.testing.assert_allclose(volume.origin_mm, (-10, 20, 0))
        assert scan.read_header(path).shape == volume.hu.shape


def test_each_frame_has_its_own_intercept(tmp_path):
    intercepts = np.where(np.arange(8) % 3, -1024, -1000)
    volume = scan.read_scan(save(tmp_path / "d", [enhanced(HU, HEIGHTS, intercepts=intercepts)]))
    np.testing.assert_array_equal(volume.hu, HU)


def test_a_missing_frame_is_interpolated(tmp_path):
    kept = np.delete(np.arange(8), 3)
    volume = scan.read_scan(save(tmp_path / "d", [enhanced(HU[kept], HEIGHTS[kept])]))
    np.testing.assert_array_equal(volume.hu[kept], HU[kept])
    between = (HU[2].astype(float) + HU[4]) / 2
    assert np.abs(volume.hu[3] - between).max() <= 0.5
    assert "slices 2 to 4 mm apart (widest at z 4 mm)" in volume.notes[0]
    gap = np.delete(np.arange(8), [3, 4])
    with pytest.raises(ScanError, match=r"6 mm between 00-0\.dcm, frame 3 and 00-0\.dcm, frame 4"):
        scan.read_scan(save(tmp_path / "e", [enhanced(HU[gap], HEIGHTS[gap])]))


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, RLELossless],
)
def test_transfer_syntaxes(tmp_path, syntax):
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    dataset = enhanced(HU[order], HEIGHTS[order])
    if syntax == RLELossless:
        dataset.compress(syntax)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<i2").astype(">i2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    volume = scan.read_scan(save(tmp_path / "d", [dataset]))
    np.testing.assert_array_equal(volume.hu, HU)


def test_values_of_all_frames_can_be_shared(tmp_path):
    """And values of the file itself apply where no functional group has them."""
    dataset = enhanced(HU, HEIGHTS)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    first = dataset.PerFrameFunctionalGroupsSequence[0]
    shared.PixelValueTransformationSequence = first.PixelValueTransformationSequence
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PixelValueTransformationSequence
    np.testing.assert_array_equal(scan.read_scan(save(tmp_path / "a", [dataset])).hu, HU)
    del shared.PixelValueTransformationSequence
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    np.testing.assert_array_equal(scan.read_scan(save(tmp_path / "b", [dataset])).hu, HU)


def test_scouts_and_points_in_time_among_the_frames(tmp_path):
    dataset = enhanced(np.concatenate([HU, HU + 7]), np.r_[HEIGHTS, HEIGHTS])
    for n, frame in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence = [item(TemporalPositionIndex=2 - n // 8)]
        kind = "LOCALIZER" if n == 8 else "AXIAL"
        frame.CTImageFrameTypeSequence = [item(FrameType=["ORIGINAL", "PRIMARY", kind, "NONE"])]
    volume = scan.read_scan(save(tmp_path / "d", [dataset]))
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes[0] == "left out, scout images: 00-0.dcm, frame 9"
    assert "temporal position 2 is used, 8 of 15 slices" in volume.notes[1]


@pytest.mark.parametrize("what", ["position", "spacing", "frames"])
def test_unknown_geometry_is_refused(tmp_path, what):
    dataset = enhanced(HU, HEIGHTS)
    if what == "position":
        del dataset.PerFrameFunctionalGroupsSequence[4].PlanePositionSequence
    elif what == "spacing":
        del dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    else:
        dataset.PerFrameFunctionalGroupsSequence = dataset.PerFrameFunctionalGroupsSequence[:5]
    match = {
        "position": r"00-0\.dcm, frame 5: ImagePositionPatient .* is missing",
        "spacing": r"00-0\.dcm, frame 1: PixelSpacing .* is missing.*likewise 7 of 7",
        "frames": r"00-0\.dcm, frame 6: ImagePositionPatient .* is missing",
    }[what]
    with pytest.raises(ScanError, match=match):
        scan.read_scan(save(tmp_path / "d", [dataset]))


def test_frames_without_functional_groups_are_refused(tmp_path):
    dataset = slices(HU[:1], [0])[0]
    dataset.NumberOfFrames, dataset.PixelData = 4, dataset.PixelData * 4
    with pytest.raises(ScanError, match="4 frames without a position for each"):
        scan.read_scan(save(tmp_path / "d", [dataset]))


def test_series_of_an_enhanced_file(tmp_path):
    (series,) = dicom.series_of(save(tmp_path / "d", [enhanced(HU, HEIGHTS)]))
    assert (series.slices, series.volume, series.thickness_mm) == (8, True, 2.0)
    assert len(series.files) == 1
