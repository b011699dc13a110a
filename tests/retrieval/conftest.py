"""Arrays of the retrieval tests."""

import numpy as np
import pytest

from inres.retrieval import codes


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def archive():
    """Make (codes, features) of n items in a few clusters, features small integers."""

    def make(n, *, bits=48, dims=8, centres=4, flips=0.05, seed=0):
        rng = np.random.default_rng(seed)
        middle = rng.random((centres, bits)) < 0.5
        noise = rng.random((n, bits)) < flips
        packed = codes.pack(middle[rng.integers(0, centres, n)] ^ noise)
        return packed, rng.integers(-4, 5, (n, dims)).astype(np.float32)

    return make
