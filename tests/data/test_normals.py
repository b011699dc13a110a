"""How many normal slices each scan gives."""

import numpy as np

from inres.data import normals as sampling


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
