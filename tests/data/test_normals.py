"""How many normal slices each scan gives."""

import numpy as np
import pytest

from inres.config import Items
from inres.data import normals as sampling
from inres.data.cut import Cut


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
