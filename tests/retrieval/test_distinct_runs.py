"""Items that share codes: the jitted programs scan the distinct codes and find the same."""

import numpy as np
import oracle
import pytest
from test_index import assert_equal

from inres.retrieval import codes, device_index, index, plans, runs, search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_programs")]

BITS = 20
DIMS = 3
QUERIES = 4


def few_codes(n, distinct, rng):
    """Codes, features and tags; every second item has the same code, the others are spread."""
    made = rng.random((distinct, BITS)) < 0.5
    which = np.where(rng.random(n) < 0.5, 0, rng.integers(0, distinct, n))
    features = rng.integers(-3, 4, (n, DIMS)).astype(np.float32)
    tags = {"groups": rng.integers(-1, 9, n), "ids": rng.permutation(2 * n)[:n]}
    return codes.pack(made[which]), features, tags


@pytest.fixture(scope="module")
def items():
    """Runs within a tile, runs of many tiles, and several tiles of codes."""
    packed, features, tags = few_codes(12_000, 2500, np.random.default_rng(5))
    built = index.build(packed, features, bits=BITS, **tags)
    assert built.on_device.codes.codes.shape[0] == 4
    return built, packed, features, tags


def search_jax(built, queries, **options):
    return search.search(built, *queries, k=10, engine="jax", **options)


@pytest.mark.parametrize("excluded", [[-1] * 4, [-1, 0, 3, 7]])
@pytest.mark.parametrize(
    "pool",
    [
        {"threshold": np.array([0, 1, 4, 5])},
        {"threshold": np.array([7, 9, 12, BITS + 1])},
        {"threshold": np.array([1, 1, 2, 3]), "min_pool": 300},
        {"nearest": 300},
    ],
)
def test_pools_of_shared_codes(items, pool, excluded, rng):
    built, packed, features, tags = items
    rows = rng.integers(0, len(packed), QUERIES)
    queries = packed[rows] ^ np.uint32(5), features[rows] + np.float32(1)
    given = {"exclude_group": np.array(excluded)}
    found = search_jax(built, queries, **pool, **given)
    expected = oracle.search(packed, features, *queries, k=10, **pool, **given, **tags)
    assert_equal(found, expected)


@pytest.mark.parametrize("filtered", [False, True])
@pytest.mark.parametrize("k", [40, 3000])
def test_nearest_of_shared_codes(items, k, filtered, rng):
    built, packed, _, tags = items
    queries = packed[rng.integers(0, len(packed), QUERIES)] ^ np.array([[0], [1], [6], [99]], "u4")
    given = {"exclude_group": np.array([-1, 0, 3, 7])} if filtered else {}
    found = search.search_hamming(built, queries, k=k, engine="jax", **given)
    expected = oracle.search_hamming(packed, queries, k=k, **given, **tags)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("share", [0.01, 0.9])
def test_hidden_items_are_left_out_however_many(items, share, rng):
    built, packed, features, tags = items
    chosen = rng.random(len(packed)) < share
    kept = index.keep(built, tags["ids"][chosen])
    left = {name: values[chosen] for name, values in tags.items()}
    queries = packed[:QUERIES], features[1 : QUERIES + 1]
    for pool in ({"threshold": 6}, {"threshold": 2, "min_pool": 50}, {"nearest": 50}):
        found = search_jax(kept, queries, **pool)
        expected = oracle.search(packed[chosen], features[chosen], *queries, k=10, **pool, **left)
        assert_equal(found, expected)


@pytest.mark.parametrize("count", [4, 5, 1500])
def test_more_neighbours_than_items(count, rng):
    # All codes are zero like the padding, which must not be returned.
    built = index.build(np.zeros((count, 1), "u4"), np.zeros((count, 1), "f4"), bits=16)
    assert isinstance(built.on_device.codes, runs.Runs)
    found, distance = search.search_hamming(built, np.zeros((1, 1), "u4"), k=1600, engine="jax")
    np.testing.assert_array_equal(found[0], [*range(count), *[-1] * (1600 - count)])
    np.testing.assert_array_equal(distance[0] == 0, np.arange(1600) < count)


def test_distinct_codes_are_scanned_where_items_share_them(rng):
    assert runs.tiles_for(0, 0) == runs.tiles_for(26, 100) == 0
    assert [runs.tiles_for(u, 10**6) for u in (1, 1024, 1025, 3000)] == [1, 1, 2, 4]
    packed = codes.pack(rng.random((1000, BITS)) < 0.5)
    built = index.build(packed, np.zeros((1000, 1), "f4"), bits=BITS)
    assert isinstance(built.on_device.codes, device_index.Each)


@pytest.mark.parametrize("distinct", [7, 900])
def test_both_layouts_find_the_same(distinct, monkeypatch, rng):
    n = 1000
    packed, features, tags = few_codes(n, distinct, rng)
    queries, labels = (packed[:QUERIES], features[1 : QUERIES + 1]), rng.integers(-1, 3, n)
    given = {"only_label": np.array([-1, 0, 1, 2]), "exclude_group": np.array([0, 1, -1, 3])}
    found = {}
    for tiles in (0, 1):
        monkeypatch.setattr(runs, "tiles_for", lambda *_, tiles=tiles: tiles)
        built = index.build(packed, features, bits=BITS, labels=labels, **tags)
        assert isinstance(built.on_device.codes, runs.Runs) == bool(tiles)
        found[tiles] = [
            search_jax(built, queries, **given, **pool)
            for pool in ({"threshold": 7, "min_pool": 20}, {"nearest": 200})
        ]
    for one, other in zip(*found.values(), strict=True):
        for name, values in one._asdict().items():
            np.testing.assert_array_equal(values, getattr(other, name), name)


def test_a_growing_index_of_shared_codes_compiles_nothing(rng):
    packed, features, tags = few_codes(4000, 200, rng)

    def run(n, threshold):
        built = index.build(
            packed[:n], features[:n], bits=BITS, capacity=4096,
            **{name: values[:n] for name, values in tags.items()},
        )  # fmt: skip
        search_jax(built, (packed[:4], features[:4]), threshold=threshold, min_pool=30)
        return built.on_device

    plans.warm(run(1000, 3), k=10, queries=4, min_pool=30)
    before = plans.programs()
    for n, threshold in ((1000, 5), (2500, 1), (4000, 12), (4000, BITS + 1)):
        run(n, threshold)
    assert plans.programs() == before
