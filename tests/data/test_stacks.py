"""The central slice of a stack."""

import numpy as np
import pytest

from inres.data import stacks


@pytest.mark.parametrize(
    ("heights", "central"),
    [
        ([-5.0, -2.5, 0.0, 2.5, 5.0, 7.5], 2),  # relative to the central one
        ([0.0, 2.5, 5.0, 7.5], 1),  # relative to the first
        ([-7.5, -5.0, -2.5, 0.0], 1),
        ([-120.0, -117.5, -115.0], 1),
        ([3.0], 0),
        ([0.0, 2.5], 0),
    ],
)
def test_the_central_slice(heights, central):
    assert stacks.central_place(np.array(heights)) == central


def test_slices_at_one_distance_have_their_middle_at_0():
    for count in range(1, 8):
        heights = stacks.even_heights(count, 2.5)
        np.testing.assert_allclose(np.diff(heights), 2.5)
        assert heights[stacks.central_place(heights)] == 0
        assert stacks.central_place(heights) == (count - 1) // 2
