"""Which marks of different readers are one nodule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres.lidc import nodules
from inres.lidc.outlines import Measured
from inres.lidc.readings import Mark


def mark(reader, place, diameter, **ratings):
    return Measured(
        mark=Mark(reader=reader, name="n", ratings=ratings, contours=()),
        volume_mm3=np.pi / 6 * diameter**3,
        extent_mm=diameter,
        world_mm=np.array(place, float),
    )


def groups(marks, slice_mm=1.0):
    return nodules.clusters(marks, slice_mm=slice_mm)


def test_marks_at_one_place_are_one_nodule():
    marks = [mark(reader, (reader, 0, 0), 8) for reader in (2, 0, 3, 1)]
    assert groups(marks) == [[0, 1, 2, 3]]


def test_the_limit_is_the_sum_of_the_radii_and_one_slice():
    for apart, expected in ((7.9, [[0, 1]]), (8.1, [[0], [1]])):
        assert groups([mark(0, (0, 0, 0), 6), mark(1, (0, 0, apart), 5)], 2.5) == expected


def test_two_marks_of_one_reader_are_two_nodules():
    one = [mark(0, (0, 0, 0), 8), mark(1, (0.5, 0, 0), 8), mark(2, (0, 0.5, 0), 8)]
    part = mark(0, (3, 0, 0), 4)
    assert groups([*one, part]) == [[0, 1, 2], [3]]
    # The part that is nearer stands for the reader, whatever the order.
    assert groups([mark(0, (3, 0, 0), 4), *one[1:], one[0]]) == [[0], [1, 2, 3]]


def test_neighbours_of_different_size_are_told_apart():
    large = [mark(reader, (0, reader / 10, 0), 20) for reader in range(4)]
    small = [mark(reader, (12, reader / 10, 0), 6) for reader in range(4)]
    mixed = [one for pair in zip(large, small, strict=True) for one in pair]
    assert groups(mixed) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_all_marks_of_a_nodule_are_near_each_other():
    """A chain of marks, each near the next, is not one nodule."""
    chain = [mark(reader, (6.0 * reader, 0, 0), 5.5) for reader in range(4)]
    assert groups(chain) == [[0, 1], [2, 3]]


@st.composite
def readings(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    return [
        mark(int(rng.integers(4)), rng.uniform(0, 25, 3), float(rng.uniform(2, 12)))
        for _ in range(draw(st.integers(0, 14)))
    ]


@given(marks=readings(), seed=st.integers(0, 100))
def test_nodules_have_the_properties_that_define_them(marks, seed):
    found = groups(marks)
    assert sorted(i for group in found for i in group) == list(range(len(marks)))
    for group in found:
        here = [marks[i] for i in group]
        assert len({one.mark.reader for one in here}) == len(here)
        assert all(nodules.near(a, b, slice_mm=1.0) for a in here for b in here)
    for one in found:  # the most that can be joined is
        for other in found:
            both = [marks[i] for i in {*one, *other}]
            joinable = all(nodules.near(a, b, slice_mm=1.0) for a in both for b in both)
            readers = {m.mark.reader for m in both}
            assert one is other or not joinable or len(readers) < len(both)
    order = np.random.default_rng(seed).permutation(len(marks))
    shuffled = groups([marks[i] for i in order])
    assert {frozenset(order[i] for i in group) for group in shuffled} == {*map(frozenset, found)}


def test_a_nodule_has_the_means_of_its_readers():
    marks = (
        mark(0, (0, 0, 0), 4, texture=5, malignancy=2),
        mark(2, (2, 0, 0), 8, malignancy=5),
        mark(3, (1, 3, 0), 6, texture=4, malignancy=2),
    )
    nodule = nodules.Nodule(marks, (0, 1, 2))
    assert nodule.readers == 3
    assert nodule.diameter_mm == pytest.approx(6)
    assert nodule.volume_mm3 == pytest.approx(np.pi / 6 * (64 + 512 + 216) / 3)
    assert nodule.world_mm == pytest.approx([1, 1, 0])
    assert nodule.ratings("texture") == [5, 4]
    assert nodule.ratings("margin") == []
