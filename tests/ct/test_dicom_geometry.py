"""Positions: tilt, uneven distances, gaps, and slices that do not belong together."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from ct.dicom_files import PIXEL_MM, pictures, save, slices
from hypothesis import given, settings
from hypothesis import strategies as st

from inres.ct import scan
from inres.ct.header import ScanError

GRADIENT = np.array([1.0, -2.0, 3.0])
SIZE = (24, 20)


def ramp(places, turn=(1, 0, 0, 0, 1, 0)):
    """Slices whose HU are a linear function of the world position, -400 at the origin."""
    row, column = np.array(turn, float).reshape(2, 3)
    y, x = np.indices(SIZE)
    inside = x[..., None] * PIXEL_MM[1] * row + y[..., None] * PIXEL_MM[0] * column
    world = np.asarray(places, float)[:, None, None] + inside
    return slices(np.rint(world @ GRADIENT - 400).astype(np.int16), places, turn=turn)


def ramp_error(volume):
    """Largest difference from that function among voxels of the scan, without its border."""
    hu, world = volume.hu, volume.index_to_world(np.moveaxis(np.indices(volume.hu.shape), 0, -1))
    inside = hu != scan.AIR_HU
    for axis in range(3):  # at the border, air is mixed in
        inside &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
    for axis in range(3):
        ends = [slice(None)] * 3
        ends[axis] = [0, -1]
        inside[tuple(ends)] = False
    assert inside.sum() > 200
    return np.abs(hu - (world @ GRADIENT - 400))[inside].max()


def along_z(heights):
    return np.stack([np.full(len(heights), -10.0), np.full(len(heights), 20.0), heights], axis=1)


@pytest.mark.parametrize("degrees", [-18.5, -5.0, 2.0, 18.5, 29.0])
@pytest.mark.parametrize("axis", ["rows", "columns"])
def test_a_tilted_gantry_is_corrected(tmp_path, degrees, axis):
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = (1, 0, 0, 0, c, -s) if axis == "columns" else (c, 0, s, 0, 1, 0)
    folder = save(tmp_path / "d", ramp(along_z(np.arange(16) * 1.25), turn))
    volume = scan.read_scan(folder)
    assert volume.notes == (f"gantry tilt of {abs(degrees):.1f} degrees, corrected",)
    np.testing.assert_allclose(volume.spacing_mm, (*PIXEL_MM[::-1], 1.25), atol=1e-6)
    upright = scan.canonical(volume)
    np.testing.assert_array_equal(upright.direction, np.eye(3))
    assert ramp_error(upright) <= 1.5


@settings(max_examples=25)
@given(
    st.floats(-180, 180),
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.2),
    st.floats(-25, 25),
    st.tuples(st.floats(0.4, 2), st.floats(0.4, 2), st.floats(0.5, 5)),
    st.permutations(range(5)),
)
def test_every_voxel_is_where_the_standard_says(degrees, axis, tilt, spacing, order):
    """PS3.3, C.7.6.2.1.1, in any direction; shifts below 0.1 mm over the scan are rounding."""
    turn = np.array(sitk.VersorTransform(axis, np.deg2rad(degrees)).GetMatrix()).reshape(3, 3)
    row, column, normal = turn.T
    step = spacing[2] * (normal + np.tan(np.deg2rad(tilt)) * column)
    places = np.array([-120.0, 33.3, 700.0]) + np.arange(5)[:, None] * step
    datasets = slices(
        pictures(5), places, turn=(*row, *column), PixelSpacing=[spacing[1], spacing[0]]
    )
    with tempfile.TemporaryDirectory() as folder:
        volume = scan.read_scan(save(Path(folder), [datasets[i] for i in order]))
    np.testing.assert_array_equal(volume.hu, pictures(5))
    z, y, x = np.indices(volume.hu.shape)
    expected = places[z] + x[..., None] * spacing[0] * row + y[..., None] * spacing[1] * column
    found = volume.index_to_world(np.stack([z, y, x], axis=-1))
    straight = np.abs(np.tan(np.deg2rad(tilt))) * 4 * spacing[2] < 0.1
    np.testing.assert_allclose(found, expected, atol=0.1 if straight else 1e-3)


def test_positions_outrank_the_tilt_in_the_header(tmp_path):
    straight, tilted = ramp(along_z(np.arange(8) * 2.0)), []
    turn = (1, 0, 0, 0, np.cos(0.2), -np.sin(0.2))
    tilted = ramp(along_z(np.arange(8) * 2.0), turn)
    for dataset in straight:
        dataset.GantryDetectorTilt = "15"
    for dataset in tilted:
        dataset.GantryDetectorTilt = "-11.459"  # the sign depends on the vendor
    volume = scan.read_scan(save(tmp_path / "a", straight))
    assert volume.notes == (
        "GantryDetectorTilt is 15 degrees, but the positions say 0.0, which is used",
    )
    np.testing.assert_array_equal(volume.direction, np.eye(3))
    volume = scan.read_scan(save(tmp_path / "b", tilted))
    assert volume.notes == ("gantry tilt of 11.5 degrees, corrected",)


def test_pixel_size_that_contradicts_the_field_of_view_is_noted(tmp_path):
    datasets = slices(pictures(4), np.arange(4) * 2.0, ReconstructionDiameter="18.0")
    assert scan.read_header(save(tmp_path / "a", datasets)).notes == ()  # 12 rows of 1.5 mm
    for dataset in datasets:
        dataset.ReconstructionDiameter = "360"
    (note,) = scan.read_scan(save(tmp_path / "b", datasets)).notes
    assert note == (
        "slices are 18 mm wide by PixelSpacing, which is used, but ReconstructionDiameter is 360 mm"
    )
    for dataset in datasets:
        dataset.ReconstructionDiameter = "0"
    assert scan.read_header(save(tmp_path / "c", datasets)).notes == ()


def test_lengths_in_cm_are_refused_where_the_field_of_view_is_in_mm(tmp_path):
    datasets = slices(pictures(4), np.arange(4) * 0.2, ReconstructionDiameter="182")
    with pytest.raises(ScanError, match=r"18 mm wide by PixelSpacing, a tenth .*182 mm;.*in cm"):
        scan.read_header(save(tmp_path, datasets))


@pytest.mark.parametrize(
    ("name", "value", "note"),
    [
        ("SpacingBetweenSlices", "5", "SpacingBetweenSlices is 5 mm, but the positions say 2,"),
        ("SpacingBetweenSlices", "-2", None),
        ("SliceThickness", "20", "slices are 20 mm thick and 2 mm apart by their positions"),
        ("SliceThickness", "5", None),
    ],
)
def test_distances_that_contradict_the_positions_are_noted(tmp_path, name, value, note):
    datasets = slices(pictures(4), np.arange(4) * 2.0, **{name: value})
    header = scan.read_header(save(tmp_path, datasets))
    assert header.spacing_mm[2] == 2
    assert [text[: len(note)] for text in header.notes] == [note] if note else not header.notes


UNEVEN = {
    "two distances": np.r_[np.arange(8), 7 + 2.0 * np.arange(1, 7)],
    "a small change": np.r_[np.arange(8), 7 + 1.4 * np.arange(1, 7)],
    "one slice of 2.5 mm missing": np.delete(np.arange(12) * 2.5, 5),
    "two slices of 1 mm missing": np.delete(np.arange(12) * 1.0, [5, 6]),
    "irregular": np.cumsum([0, 0.7, 1.1, 0.9, 1.3, 0.8, 1.0, 1.2, 0.6, 1.0]),
}


@pytest.mark.parametrize("case", UNEVEN)
@pytest.mark.parametrize("turn", [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0.96, -0.28)])
def test_uneven_distances_are_resampled_by_true_positions(tmp_path, case, turn):
    folder = save(tmp_path / "d", ramp(along_z(UNEVEN[case]), turn))
    volume = scan.read_scan(folder)
    assert "mm apart" in volume.notes[-1]
    assert scan.read_header(folder).shape == volume.hu.shape
    first, last = (volume.index_to_world(np.array([z, 0, 0])) for z in (0, len(volume.hu) - 1))
    np.testing.assert_allclose(first, along_z(UNEVEN[case])[0], atol=1e-6)
    np.testing.assert_allclose(last, along_z(UNEVEN[case])[-1], atol=1e-6)
    world = volume.index_to_world(np.moveaxis(np.indices(volume.hu.shape), 0, -1))
    assert np.abs(volume.hu - (world @ GRADIENT - 400)).max() <= 1


def test_a_plane_of_the_grid_at_a_slice_is_that_slice(tmp_path):
    heights = UNEVEN["two distances"]
    hu = pictures(len(heights))
    volume = scan.read_scan(save(tmp_path / "d", slices(hu, heights)))
    assert volume.spacing_mm[2] == pytest.approx(1.0)
    np.testing.assert_array_equal(volume.hu[heights.astype(int)], hu)


def test_rounded_positions_are_no_uneven_distances(tmp_path):
    heights = np.round(np.arange(20) * 1.25 + 0.01 * (np.arange(20) % 3), 2)
    volume = scan.read_scan(save(tmp_path / "d", slices(pictures(20), heights)))
    np.testing.assert_array_equal(volume.hu, pictures(20))
    assert volume.notes == ()


def test_positions_are_compared_as_numbers_not_as_whole_or_text(tmp_path):
    heights = np.array([-10.4, -9.8, -9.2, -0.2, 0.4, 1.0, 9.4, 10.0, 10.6])
    heights = heights[:3]
    hu = pictures(3)
    folder = save(tmp_path / "d", slices(hu[::-1], heights[::-1]))
    np.testing.assert_array_equal(scan.read_scan(folder).hu, hu)
    assert scan.read_scan(folder).spacing_mm[2] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("step", "missing", "gap"), [(2.5, 2, "7.5"), (1.0, 3, "4"), (4.0, 1, "8"), (0.625, 9, "6.25")]
)
def test_a_gap_is_an_error_that_says_where(tmp_path, step, missing, gap):
    heights = np.delete(np.arange(24) * step, np.arange(10, 10 + missing))
    folder = save(tmp_path / "d", slices(pictures(len(heights)), heights))
    low, high = 9 * step, (10 + missing) * step
    where = rf"{gap} mm between .* \(z {low:g} and {high:g} mm\), elsewhere {step:g} mm"
    for read in (scan.read_header, scan.read_scan):
        with pytest.raises(ScanError, match=where + f"; about {missing} slices are missing"):
            read(folder)


def test_thick_even_slices_are_no_gaps(tmp_path):
    volume = scan.read_scan(save(tmp_path / "d", slices(pictures(5), np.arange(5) * 8.0)))
    assert volume.spacing_mm[2] == 8.0
    assert volume.notes == ()


def test_a_single_slice(tmp_path):
    volume = scan.read_scan(save(tmp_path / "d", slices(pictures(1), [5.0], SliceThickness=3)))
    assert volume.spacing_mm[2] == 3.0
    bare = save(tmp_path / "e", slices(pictures(1), [5.0], SliceThickness=None))
    assert scan.read_scan(bare).notes == ("a single slice without SliceThickness, taken for 1 mm",)


def odd_one(**elements):
    """Slices of which the fourth differs."""
    datasets = slices(pictures(10), np.arange(10) * 2.0)
    for name, value in elements.items():
        setattr(datasets[3], name, value)
    return datasets


@pytest.mark.parametrize(
    "elements",
    [
        {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
        {"ImageOrientationPatient": [0.99985, 0.01745, 0, -0.01745, 0.99985, 0]},
        {"ImageOrientationPatient": [-1, 0, 0, 0, -1, 0]},
        {"PixelSpacing": [1.5, 0.8]},
        {"Rows": 10, "Columns": 12},
        {"ImagePositionPatient": [-8, 20, 6]},
        {"ImagePositionPatient": [-10, 21, 6]},
    ],
    ids=str,
)
def test_a_slice_that_does_not_belong_is_named(tmp_path, elements):
    folder = save(tmp_path / "d", odd_one(**elements))
    for read in (scan.read_header, scan.read_scan):
        with pytest.raises(ScanError, match=r"d: 21-3\.dcm (with|shifted by)"):
            read(folder)


def test_shifted_slices_are_named_and_not_all_others(tmp_path):
    datasets = slices(pictures(12), np.arange(12) * 2.0)
    for dataset in datasets[4:7]:
        dataset.ImagePositionPatient = [10, *dataset.ImagePositionPatient[1:]]
    with pytest.raises(
        ScanError, match=r"d: 05-4\.dcm, 12-5\.dcm, 19-6\.dcm shifted by .*20\.0 mm"
    ):
        scan.read_scan(save(tmp_path / "d", datasets))


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("PixelSpacing", None, r"PixelSpacing \(0028,0030\) is missing; .*size of a pixel"),
        ("PixelSpacing", [0, 1], r"PixelSpacing \(0028,0030\) is \(0\.0, 1\.0\), not above 0"),
        ("PixelSpacing", [1.0], "has 1 numbers instead of 2"),
        ("ImagePositionPatient", None, r"\(0020,0032\) is missing; .*export the series again"),
        ("ImagePositionPatient", "", r"\(0020,0032\) is missing"),
        ("ImageOrientationPatient", None, r"\(0020,0037\) is missing; .*direction"),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0], "not two perpendicular directions"),
        ("ImageOrientationPatient", [0, 0, 0, 0, 0, 0], "not two perpendicular directions"),
    ],
)
@pytest.mark.parametrize("all_slices", [True, False])
def test_unknown_geometry_is_refused(tmp_path, name, value, what, all_slices):
    datasets = slices(pictures(6), np.arange(6) * 2.0)
    for dataset in datasets if all_slices else datasets[2:3]:
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    others = r".*likewise 5 of 5 others" if all_slices else r"(?!.*likewise)"
    with pytest.raises(ScanError, match=r"d/\d\d-\d\.dcm: .*" + what):
        scan.read_header(save(tmp_path / "d", datasets))
    with pytest.raises(ScanError, match=rf"d/\d\d-\d\.dcm: (?=.*{what}){others}"):
        scan.read_scan(tmp_path / "d")
