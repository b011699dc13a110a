"""Components of masks: measured against closed forms and against scikit-image."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from ct.trees import grid_world, in_ellipsoid, to_image
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import distance
from skimage import measure

from inres.ct.components import components, read_components, require_same_voxels
from inres.ct.header import Grid, ScanError
from inres.ct.scan import read_header

SIZE, SPACING, ORIGIN = (40, 36, 24), (1.0, 1.0, 2.0), (-20.0, 5.0, 100.0)


def grid(direction=None, spacing=SPACING):
    direction = np.eye(3) if direction is None else np.array(direction, float)
    return Grid(spacing_mm=spacing, origin_mm=ORIGIN, direction=direction)


def ball(centre, diameter, direction=None):
    direction = np.eye(3) if direction is None else direction
    world = grid_world(SIZE, SPACING, ORIGIN, direction)
    return in_ellipsoid(world, centre, (diameter / 2,) * 3)


def test_a_ball_has_its_volume_and_place():
    centre = (-2.5, 21.0, 122.0)
    (one,) = components(ball(centre, 16).astype(np.uint8) * 7, grid())
    assert one.value == 7
    np.testing.assert_allclose(one.centre_mm, centre, atol=0.3)
    assert one.volume_mm3 == pytest.approx(math.pi * 16**3 / 6, rel=0.03)
    assert one.diameter_mm == pytest.approx(16, rel=0.01)
    assert one.longest_axial_mm == pytest.approx(16, abs=1.0)


def test_components_of_each_value_from_the_largest():
    labels = np.zeros((12, 20, 20), np.int16)
    labels[2:4, 2:4, 2:4] = 3
    labels[8:11, 8:11, 8:11] = 3
    labels[4, 4, 4] = 3  # touches the first in a corner
    labels[2:4, 10:12, 10:12] = 1
    found = components(labels, grid(spacing=(1.0, 1.0, 1.0)))
    assert [(one.value, one.volume_mm3) for one in found] == [(1, 8), (3, 27), (3, 9)]
    assert components(np.zeros((3, 3, 3)), grid()) == []


@given(st.integers(0, 2**32 - 1))
def test_components_agree_with_scikit_image(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random((6, 9, 8)) < 0.15) * rng.integers(1, 3, (6, 9, 8))
    found = components(labels, grid())
    expected = []
    for value in (1, 2):
        parts = measure.label(labels == value, connectivity=3)
        for part in measure.regionprops(parts):
            expected.append((value, part.area * math.prod(SPACING), part.centroid))
    assert sorted((one.value, one.volume_mm3) for one in found) == sorted(
        (value, volume) for value, volume, _ in expected
    )
    places = grid().index_to_world(np.array([c for *_, c in expected]).reshape(-1, 3))
    np.testing.assert_allclose(
        sorted(one.centre_mm for one in found), sorted(map(tuple, places)), atol=1e-9
    )


@given(st.integers(0, 2**32 - 1))
def test_longest_axial_extent_is_the_feret_diameter(seed):
    rng = np.random.default_rng(seed)
    plane = np.zeros((24, 24), bool)
    y, x = np.indices(plane.shape)
    for cy, cx, r in rng.uniform((8, 8, 2), (15, 15, 6), (3, 3)):
        plane |= (y - cy) ** 2 + (x - cx) ** 2 <= r * r
    plane = measure.label(plane) == 1
    (one,) = components(plane[None], grid())
    feret = measure.regionprops(plane.astype(int))[0].feret_diameter_max
    assert one.longest_axial_mm == pytest.approx(feret, abs=0.75)  # of the filled convex hull
    half = np.array([[-0.5, 0], [0.5, 0], [0, -0.5], [0, 0.5]])
    points = (np.argwhere(plane)[:, None] + half).reshape(-1, 2)
    farthest = distance.pdist(points).max()
    assert one.longest_axial_mm == pytest.approx(farthest, abs=1e-9)


def write(path, array, *, spacing=SPACING, origin=ORIGIN, direction=None):
    direction = np.eye(3) if direction is None else direction
    sitk.WriteImage(to_image(array, spacing, origin, direction), str(path))
    return path


@pytest.fixture
def scan(tmp_path):
    return read_header(write(tmp_path / "scan.nii.gz", np.zeros(SIZE[::-1], np.int16)))


def test_a_mask_with_its_axes_in_another_order_marks_the_same_place(tmp_path, scan):
    inside = ball((4.0, 20.0, 130.0), 12).astype(np.uint8)
    plain = write(tmp_path / "m.nii.gz", inside)
    image = sitk.DICOMOrient(sitk.ReadImage(str(plain)), "SRP")
    assert image.GetSize() != SIZE
    sitk.WriteImage(image, str(tmp_path / "turned.nrrd"))
    (one,) = read_components(plain, scan)
    (other,) = read_components(tmp_path / "turned.nrrd", scan)
    np.testing.assert_allclose(other.centre_mm, one.centre_mm, atol=1e-4)
    assert other.volume_mm3 == pytest.approx(one.volume_mm3)
    assert other.longest_axial_mm == pytest.approx(one.longest_axial_mm)


@pytest.mark.parametrize(
    "change",
    [
        {"spacing": (1.0, 1.0, 1.9)},
        {"origin": (-20.0, 5.0, 98.0)},
        {"origin": (0.0, 0.0, 0.0), "spacing": (1.0, 1.0, 1.0)},
        {"direction": np.diag([-1.0, -1.0, 1.0])},
    ],
)
def test_a_mask_of_other_voxels_is_refused_with_both_names(tmp_path, scan, change):
    path = write(tmp_path / "m.nrrd", np.zeros(SIZE[::-1], np.uint8), **change)
    with pytest.raises(ScanError, match=r"m\.nrrd: not on the voxels of its scan .*scan\.nii\.gz"):
        read_components(path, scan)
    small = write(tmp_path / "s.nrrd", np.zeros((5, 5, 5), np.uint8))
    with pytest.raises(ScanError, match=r"5 x 5 x 5 voxels .*40 x 36 x 24 voxels"):
        require_same_voxels(read_header(small), scan)


def test_values_of_no_mask_are_refused(tmp_path, scan, rng):
    shares = write(tmp_path / "p.nii.gz", rng.random(SIZE[::-1]).astype(np.float32))
    with pytest.raises(ScanError, match=r"p\.nii\.gz: values from .* not whole numbers"):
        read_components(shares, scan)
    noise = (rng.random(SIZE[::-1]) < 0.1).astype(np.uint8) * rng.integers(1, 250, SIZE[::-1])
    with pytest.raises(ScanError, match=r"n\.nii\.gz: more than 1000 separate components"):
        read_components(write(tmp_path / "n.nii.gz", noise.astype(np.uint8)), scan)
    wide = {"spacing": (10.0, 10.0, 12.0)}
    large = read_header(write(tmp_path / "l.nii", np.zeros(SIZE[::-1], np.int16), **wide))
    inverted = write(tmp_path / "i.nii", 1 - ball((4, 20, 130), 12).astype(np.uint8), **wide)
    with pytest.raises(ScanError, match=r"i\.nii: 4\d\.\d litres are marked.* background is 0"):
        read_components(inverted, large)
    lung = write(tmp_path / "lung.nii", np.ones(SIZE[::-1], np.uint8), spacing=(3.0, 3.0, 3.0))
    with pytest.raises(ScanError, match=r"lung\.nii: 0\.9 litres are marked.* mask of the lungs"):
        read_components(lung, read_header(lung))
    below = write(tmp_path / "b.nii", ball((4.0, 20.0, 130.0), 12).astype(np.int16) * -2)
    with pytest.raises(ScanError, match=r"b\.nii: values down to -2, so no mask"):
        read_components(below, scan)
    whole = ball((4.0, 20.0, 130.0), 12).astype(np.float32) * 2
    assert [one.value for one in read_components(write(tmp_path / "w.nii", whole), scan)] == [2]
