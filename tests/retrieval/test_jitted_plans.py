"""The jitted programs: every plan, and an index that outgrows its capacity."""

import jax
import numpy as np
import oracle
import pytest
from test_index import assert_equal, search_all

from inres.retrieval import hamming, index, plans, runs, search, walk

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_programs")]

CAPACITY = 4096
DIMS = 4
BITS = 48


@pytest.mark.parametrize("distinct", [4000, 100])
@pytest.mark.parametrize("plan", ["together", "alone", "walk", "every tile"])
def test_every_plan_gives_the_same(plan, distinct, clustered, monkeypatch, rng):
    # Every plan is correct for any pool; the choice only affects the time.
    gallery, features = clustered(4000, dims=DIMS)
    gallery = gallery[np.arange(4000) % distinct]
    groups, excluded = rng.integers(0, 3, 4000), np.array([0, -1, 2, 1])
    built = index.build(gallery, features, bits=BITS, groups=groups, capacity=CAPACITY)
    assert isinstance(built.on_device.codes, runs.Runs) == (distinct < 1000)
    if plan == "together":
        monkeypatch.setattr(plans, "TOGETHER_MANY", ((4 * CAPACITY, CAPACITY),))
    else:
        monkeypatch.setattr(plans, "TOGETHER_MANY", ())
        monkeypatch.setitem(plans.WALK_DENSITY, 4, 10**6 if plan == "alone" else 0)
    if plan == "every tile":
        monkeypatch.setattr(walk, "READ", 1)
        monkeypatch.setattr(walk, "_blocks_to_list", lambda k: 1)
    thresholds = np.array([3, 6, 12, 49])
    jax.clear_caches()  # compiled programs do not depend on these constants
    result = search.search(
        built, gallery[:4], features[1:5], threshold=thresholds, k=10, engine="jax",
        exclude_group=excluded,
    )  # fmt: skip
    jax.clear_caches()
    expected = oracle.search(
        gallery, features, gallery[:4], features[1:5],
        threshold=thresholds, k=10, groups=groups, exclude_group=excluded,
    )  # fmt: skip
    assert_equal(result, expected)


def test_growing_past_a_capacity(clustered):
    gallery, features = clustered(CAPACITY + 1, dims=DIMS)
    for n in (CAPACITY, CAPACITY + 1):
        built = index.build(gallery[:n], features[:n], bits=BITS)
        assert built.capacity == CAPACITY + (hamming.TILE if n > CAPACITY else 0)
        result = search_all(built, gallery[-4:], features[-4:], threshold=5, k=10)
        expected = oracle.search(
            gallery[:n], features[:n], gallery[-4:], features[-4:],
            threshold=5, k=10,
        )  # fmt: skip
        assert_equal(result, expected)
