"""The pixels, size and place of a mark."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from lidc import xml_texts as xml
from matplotlib.path import Path as Polygon
from scipy import ndimage

from inres.lidc import outlines, xml_files
from inres.lidc.planes import Planes
from inres.lidc.readings import Contour, Mark

PLANES = Planes.regular(origin_mm=(-100.0, 50.0, -300.0), spacing_mm=(0.5, 0.75, 2.0))


def contour(z, points, *, hole=False):
    return Contour(z_mm=float(z), hole=hole, points=tuple(map(tuple, np.asarray(points).tolist())))


def mark(*contours, reader=0):
    return Mark(reader=reader, name="n", ratings={}, contours=contours)


def boundary(region):
    """The pixels around a region without holes, in order: a Moore neighbour tracing."""
    padded = np.pad(ndimage.binary_dilation(np.pad(region, 2)), 1)
    around = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    start = tuple(np.argwhere(padded)[0])
    here, came, path = start, 6, [start]
    while True:
        for turn in range(8):
            at = (came + 1 + turn) % 8
            there = (here[0] + around[at][0], here[1] + around[at][1])
            if padded[there]:
                break
        came = (at + 4) % 8
        here = there
        if here == start:
            break
        path.append(here)
    return np.array(path)[:, ::-1] - 3


@st.composite
def regions(draw):
    """A connected region without holes, bool [20, 20]."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    y, x = np.mgrid[:20, :20] - 9.5
    angle = np.arctan2(y, x)
    radius = 6 + rng.uniform(0, 2.5) * np.sin(rng.integers(1, 4) * angle + rng.uniform(0, 6))
    region = np.hypot(x, y) < radius * rng.uniform(0.3, 1.0)
    region = ndimage.binary_opening(region, np.ones((2, 2)))
    labels, count = ndimage.label(region)
    if count:
        region = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    return ndimage.binary_fill_holes(region) if region.any() else np.abs(y) + np.abs(x) < 4


@given(region=regions())
def test_a_mark_is_what_its_outline_encloses(region):
    points = boundary(region)
    around = ndimage.binary_dilation(np.pad(region, 5)) & ~np.pad(region, 5)
    assume(around.sum() == len(points))  # else a corner cuts off a pixel, which is then enclosed
    found = outlines.mask(mark(contour(4, points)))
    row, column = found.first
    shape = found.pixels.shape[1:]
    assert found.pixels[0].sum() == region.sum()
    inside = np.zeros((40, 40), bool)
    inside[row + 5 : row + 5 + shape[0], column + 5 : column + 5 + shape[1]] = found.pixels[0]
    assert np.array_equal(inside[5:25, 5:25], region)
    # Matplotlib's polygons, as pylidc uses them, agree but for the outline itself.
    grid = np.stack(np.meshgrid(np.arange(20), np.arange(20)), axis=-1).reshape(-1, 2)
    within = Polygon(points).contains_points(grid).reshape(20, 20)
    line = np.zeros((40, 40), bool)
    line[points[:, 1] + 5, points[:, 0] + 5] = True
    assert np.array_equal(within & ~line[5:25, 5:25], region)


def test_a_gap_in_an_outline_is_bridged():
    points = [place for place in xml.ring(2, 2, 12, 9) if place not in ((5, 2), (6, 2), (12, 5))]
    assert outlines.mask(mark(contour(0, points))).pixels.sum() == 9 * 6
    assert outlines.mask(mark(contour(0, points[:-2]))).pixels.sum() == 9 * 6  # not closed


def test_a_hole_is_excluded_with_its_outline():
    outer, inner = contour(0, xml.ring(0, 0, 10, 10)), contour(0, xml.ring(3, 3, 6, 6), hole=True)
    for order in ((outer, inner), (inner, outer)):
        assert outlines.mask(mark(*order)).pixels.sum() == 81 - 16


def test_outlines_in_one_slice_add_up_and_slices_are_ordered():
    left, right = xml.ring(0, 0, 4, 4), xml.ring(10, 0, 14, 4)
    found = outlines.mask(mark(contour(2, left), contour(-2, left), contour(2, right)))
    assert found.z_mm.tolist() == [-2.0, 2.0]
    assert found.pixels.sum(axis=(1, 2)).tolist() == [9, 18]


def test_volume_diameter_extent_and_centre():
    square = xml.ring(10, 20, 14, 24)  # 3 x 3 pixels around (12, 22)
    one = outlines.measure(mark(contour(-300, square), contour(-298, square)), PLANES)
    volume = 18 * 0.5 * 0.75 * 2.0
    assert one.volume_mm3 == pytest.approx(volume)
    assert np.pi / 6 * one.diameter_mm**3 == pytest.approx(volume)
    assert one.world_mm == pytest.approx([-100 + 12 * 0.5, 50 + 22 * 0.75, -299])
    corner = np.hypot(4 * 0.5, 4 * 0.75)
    assert one.extent_mm == pytest.approx(corner - np.sqrt(0.5 * 0.75))


def test_a_mark_without_a_pixel_has_no_volume():
    one = outlines.measure(mark(contour(-300, [(10, 20), (11, 20)])), PLANES)
    assert (one.volume_mm3, one.diameter_mm) == (0.0, 0.0)
    assert one.world_mm == pytest.approx([-100 + 10.5 * 0.5, 50 + 20 * 0.75, -300])


def test_reversed_axes_and_a_tilted_gantry_place_a_mark():
    reversed_ = Planes.regular(
        origin_mm=(100, 80, 0), spacing_mm=(0.5, 0.5, 1), direction=np.diag([-1.0, -1.0, 1.0])
    )
    assert reversed_.world_mm(7.0, np.array([[10, 20]])).tolist() == [[95.0, 70.0, 7.0]]
    corners = np.array([[0.0, 0.1 * z, z] for z in range(0, 30, 2)])
    tilted = Planes(corners, np.array([0.5, 0, 0]), np.array([0, 0.5, 0]), 2.0)
    assert tilted.world_mm(20.0, np.array([[2, 4]])) == pytest.approx(np.array([[1.0, 4.0, 20.0]]))


def test_widths_are_those_of_pylidc(real_data):
    """LIDC-IDRI-0001: `Annotation.diameter` of pylidc 0.2.3, the distance across the outline."""

    known = [32.205888, 33.188692, 31.959332, 33.669337]
    path = next(real_data("lidc_dicom/LIDC-IDRI-0001").rglob("*.xml"))
    with xml_files.Opener() as opener:
        marks = xml_files.read([xml_files.Place(path)], opener).marks
    planes = Planes.regular(origin_mm=(0, 0, 0), spacing_mm=(0.703125, 0.703125, 2.5))
    found = [outlines.measure(mark, planes).extent_mm + 0.703125 for mark in marks]
    assert found == pytest.approx(known, abs=1e-4)
