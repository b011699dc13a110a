"""How many normal slices each scan gives."""

import dataclasses

import numpy as np
import pytest

from inres.config import Items
from inres.ct.scan import Volume
from inres.data import normals as sampling
from inres.data.cut import Cut
from inres.sources import Finding


def test_even_shares():
    rng = np.random.default_rng(0)
    assert sampling.even_shares([5, 5, 5], 9, rng) == [3, 3, 3]
    assert sampling.even_shares([1, 9, 2], 9, rng) == [1, 6, 2]
    assert sampling.even_shares([1, 0, 2], 9, rng) == [1, 0, 2]
    for _ in range(20):
        offered = rng.integers(0, 9, 12)
        total = int(rng.integers(0, offered.sum() + 1))
        take = np.array(sampling.even_shares(offered.tolist(), total, rng))
        assert take.sum() == total
        assert np.all(take <= offered)
        assert np.all((take >= take.max() - 1) | (take == offered))


def cut_of(**items):
    """Forty planes, all of them lung, of 1 mm."""
    mask = np.ones((40, 9, 9), bool)
    config = Items(spacing_mm=1.0, canvas_mm=9.0, crop_mm=9.0, **items)
    return Cut(None, None, mask, None, mask, (4, 4), (), config)


@pytest.mark.parametrize(
    ("items", "reach"),
    [
        ({"neighbours": 3, "neighbour_mm": 2.0}, 6),
        ({"view": "cube", "cube_mm": 9.0}, 5),
        ({"neighbours": 3, "neighbour_mm": 2.0, "normal_inside_mm": 7.5}, 8),
        ({"normal_inside_mm": 6.0}, 6),
        ({}, 0),
    ],
)
def test_planes_whose_stack_is_inside_the_scan_come_first(items, reach):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        chosen = np.array(sampling.clear_planes(cut_of(**items), (), most=40, rng=rng))
        whole = (chosen >= reach) & (chosen < 40 - reach)
        assert whole.any()
        assert (np.diff(whole.astype(int)) <= 0).all()  # none of them after one that is cut
        assert np.diff(np.sort(chosen)).min() >= sampling.MIN_GAP_MM
        # No plane is left out for another reason than its distance from the others.
        assert np.abs(np.arange(40)[:, None] - chosen).min(axis=1).max() < sampling.MIN_GAP_MM
        first = np.array(sampling.clear_planes(cut_of(**items), (), most=3, rng=rng))
        assert ((first >= reach) & (first < 40 - reach)).all()


def test_runs_that_see_differently_much_have_the_same_planes():
    def planes(**items):
        cut = cut_of(normal_inside_mm=7.0, **items)
        return sampling.clear_planes(cut, (), most=9, rng=np.random.default_rng(3))

    assert planes() == planes(neighbours=3, neighbour_mm=2.0)
    assert planes() == planes(view="cube", cube_mm=9.0)


def place_of(index, radius_mm):
    """A finding at z, y, x of voxels of 1 mm."""
    return Finding("", world_mm=tuple(map(float, index[::-1])), diameter_mm=2.0 * radius_mm)


@pytest.mark.parametrize("seed", range(8))
def test_a_cube_around_a_normal_place_shows_no_finding_if_there_is_such_a_place(seed):
    """Compared with the distance of each voxel of the cube from each finding."""
    rng = np.random.default_rng(seed)
    shape, half = (60, 50, 50), 7.0
    mask = np.ones(shape, bool)
    volume = Volume(
        hu=mask.astype(np.int16), spacing_mm=(1, 1, 1), origin_mm=(0, 0, 0), direction=np.eye(3)
    )
    config = Items(
        spacing_mm=1.0, canvas_mm=50.0, crop_mm=50.0, normal_clearance_mm=1.0, view="cube"
    )
    config.cube_mm = 2 * half
    cut = Cut(None, volume, mask, None, mask, (25, 25), (), config)
    findings = [place_of(rng.uniform(0, shape), rng.uniform(2, 5)) for _ in range(4)]
    box = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 3, indexing="ij"), axis=-1)
    places = list(sampling.normal_places(cut, findings, most=9, rng=rng))
    assert len(places) >= 5
    for place in places:
        for finding in findings:
            away = np.linalg.norm(place + box - np.array(finding.world_mm[::-1]), axis=-1)
            assert away.min() >= finding.diameter_mm / 2 - 1e-9
    # A lung that is no larger than a cube has no such place, and still gives one.
    everywhere = [place_of((30, 25, 25), 1.0)]
    small = np.zeros(shape, bool)
    small[:, 20:30, 20:30] = True
    near = dataclasses.replace(cut, mask=small)
    places = list(sampling.normal_places(near, everywhere, most=30, rng=rng))
    assert any(abs(z - 30) < half for z, _, _ in places)
