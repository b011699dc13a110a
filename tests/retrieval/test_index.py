import os
import subprocess
import sys
from pathlib import Path

import both
import jax
import numpy as np
import oracle
import pytest
import quick

from inres.retrieval import codes, index, plans, search

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_programs")]

CAPACITY = 9216
"""Shared by most tests, so that they share compiled programs."""


def search_all(built, query_codes, query_features, *, exclude_group=None, **kwargs):
    """Search with all engines; always passes groups, so that tests share compiled programs."""
    excluded = np.full(len(query_codes), -1) if exclude_group is None else exclude_group
    return both.search(built, query_codes, query_features, exclude_group=excluded, **kwargs)


def assert_equal(result, expected):
    ids, hamming, square, pool_size = expected
    np.testing.assert_array_equal(result.pool_size, pool_size)
    np.testing.assert_array_equal(result.ids, ids)
    np.testing.assert_array_equal(result.hamming, hamming)
    np.testing.assert_allclose(result.distance.astype(np.float64) ** 2, square, rtol=1e-6)


CASES = {
    # name: items, bits, threshold, k, flips. The pools lie on both sides of each plan's limit.
    "compact": (4000, 48, 3, 10, 0.05),
    "second tier": (4000, 48, 6, 10, 0.05),
    "walk": (9000, 48, 12, 10, 0.05),
    "walk, 12 bits": (9000, 12, 3, 10, 0.05),
    "walk, 128 bits": (9000, 128, 40, 10, 0.05),
    "everything": (3000, 48, 49, 10, 0.05),
    "k beyond the pool": (3000, 48, 4, 1500, 0.05),
    "k beyond all": (1200, 48, 49, 1500, 0.3),
    "all codes equal": (2500, 48, 1, 10, 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_brute_force(case, clustered, rng):
    n, bits, threshold, k, flips = CASES[case]
    gallery, features = clustered(n, bits=bits, flips=flips)
    query_codes, query_features = gallery[:3], features[[5, 6, 7]] + 1
    groups, excluded = rng.integers(-1, 4, n), np.array([2, -1, 0])
    built = index.build(gallery, features, bits=bits, groups=groups, capacity=CAPACITY)
    result = both.search(
        built, query_codes, query_features, threshold=threshold, k=k, exclude_group=excluded
    )
    expected = oracle.search(
        gallery, features, query_codes, query_features,
        threshold=threshold, k=k, groups=groups, exclude_group=excluded,
    )  # fmt: skip
    assert_equal(result, expected)


def test_each_query_has_its_own_plan_and_threshold(clustered):
    gallery, features = clustered(9000)
    thresholds = np.array([0, 1, 2, 4, 6, 12, 25, 49, 1000])
    q = len(thresholds)
    built = index.build(gallery, features, capacity=CAPACITY, bits=48)
    result = both.search(built, gallery[:q], features[:q], threshold=thresholds, k=10)
    expected = oracle.search(
        gallery, features, gallery[:q], features[:q],
        threshold=thresholds, k=10,
    )  # fmt: skip
    assert len(set(np.digitize(expected[3], [1, 65, 1500]))) == 4
    assert_equal(result, expected)


def test_equal_features_with_different_codes_go_by_id(clustered, rng):
    gallery, features = clustered(8000, flips=0.3)
    features = features[rng.integers(0, 3, 8000)]
    ids = rng.permutation(8000)
    built = index.build(gallery, features, capacity=CAPACITY, bits=48, ids=ids)
    result = search_all(built, gallery[:2], features[:2], threshold=40, k=10)
    expected = oracle.search(
        gallery, features, gallery[:2], features[:2],
        threshold=40, k=10, ids=ids,
    )  # fmt: skip
    assert_equal(result, expected)


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_a_common_offset_does_not_change_the_ranking(mean, rng):
    n, dims = 6000, 8
    features = (mean + rng.standard_normal((n, dims))).astype(np.float32)
    queries = (mean + rng.standard_normal((4, dims))).astype(np.float32)
    same = np.zeros((n, 2), np.uint32)
    built = index.build(same, features, bits=48, capacity=CAPACITY)
    result = search_all(built, same[:4], queries, threshold=1, k=10)
    wide = ((features[None].astype(np.float64) - queries[:, None]) ** 2).sum(-1)
    for row in range(4):
        # In float32 only nearly equal distances may swap places.
        np.testing.assert_allclose(
            wide[row, result.ids[row]], np.sort(wide[row])[:10], rtol=2 * (dims + 4) * 2**-24
        )


def test_a_coarse_sketch_does_not_change_the_result(clustered):
    # One far outlier in each tile makes the sketch imprecise; the result must not depend on it.
    gallery, features = clustered(5000, centres=1, flips=0.0, dims=8)
    features[::500] = 30_000
    built = index.build(gallery, features, capacity=CAPACITY, bits=48)
    result = search_all(built, gallery[:3], features[1:4], threshold=1, k=10)
    expected = oracle.search(
        gallery, features, gallery[:3], features[1:4],
        threshold=1, k=10,
    )  # fmt: skip
    assert_equal(result, expected)


def test_an_empty_pool_is_reported_and_min_pool_widens_it(clustered):
    gallery, features = clustered(3000, flips=0.02)
    far = gallery[:2] ^ np.uint32(0b1111)
    far[1] = gallery[1]
    built = index.build(gallery, features, capacity=CAPACITY, bits=48)
    empty = search_all(built, far, features[:2], threshold=1, k=10)
    assert empty.pool_size[0] == 0
    assert (empty.ids[0] == -1).all()
    assert np.isinf(empty.distance[0]).all()
    wide = search_all(built, far, features[:2], threshold=1, k=10, min_pool=1)
    nearest = oracle.hamming(far[:1], gallery).min()
    assert nearest > 0
    np.testing.assert_array_equal(wide.threshold, [nearest + 1, 1])
    expected = oracle.search(
        gallery, features, far, features[:2],
        threshold=wide.threshold, k=10,
    )  # fmt: skip
    assert_equal(wide, expected)


def test_an_empty_index_has_only_empty_pools():
    built = index.build(
        np.zeros((0, 2), np.uint32), np.zeros((0, 8), np.float32), bits=48, capacity=CAPACITY
    )
    zero = np.zeros((2, 2), np.uint32), np.zeros((2, 8), np.float32)
    result = search_all(built, *zero, threshold=49, k=10, min_pool=1)
    assert (result.ids == -1).all()
    np.testing.assert_array_equal(result.pool_size, [0, 0])


def test_no_queries_give_no_rows(clustered):
    gallery, features = clustered(10)
    built = index.build(gallery, features, bits=48, capacity=CAPACITY)
    result = search_all(built, gallery[:0], features[:0], threshold=3, k=10)
    assert result.ids.shape == (0, 10)


def test_sizes_within_a_capacity_compile_nothing(clustered):
    gallery, features = clustered(2000)

    def run(n, q, threshold):
        built = index.build(gallery[:n], features[:n], bits=48, capacity=CAPACITY)
        search_all(built, gallery[:q], features[:q], threshold=threshold, k=10)

    built = index.build(gallery[:5], features[:5], bits=48, capacity=CAPACITY)
    plans.warm(built.on_device, k=10, queries=3, exclude_group=True)
    before = plans.programs()
    for n, q, threshold in ((1501, 4, 5), (0, 2, 2), (2000, 3, 48), (2000, 4, 12)):
        run(n, q, threshold)
    assert plans.programs() == before


def test_many_queries_are_processed_in_batches(clustered):
    gallery, features = clustered(3000)
    built = index.build(gallery, features, capacity=CAPACITY, bits=48)
    result = both.search(built, gallery[:150], features[:150], threshold=8, k=10)
    expected = oracle.search(
        gallery, features, gallery[:150], features[:150],
        threshold=8, k=10,
    )  # fmt: skip
    assert_equal(result, expected)


@pytest.mark.parametrize(
    "pool", [{"threshold": 5}, {"threshold": 3, "min_pool": 60}, {"nearest": 60}, {"nearest": 1}]
)
def test_excluded_items_never_enter_a_pool(pool, clustered, rng):
    n, q = 3000, 4
    gallery, features = clustered(n)
    ids, groups = rng.permutation(2 * n)[:n], rng.integers(-1, 4, n)
    labels = rng.integers(-1, 3, n)
    kinds = {"groups": groups, "labels": labels, "ids": ids}
    built = index.build(gallery, features, bits=48, capacity=CAPACITY, **kinds)
    excluded, label = np.array([2, -1, 0, 1]), np.array([-1, 1, 2, 0])
    result = both.search(
        built,
        gallery[:q],
        features[1 : q + 1],
        k=10,
        exclude_group=excluded,
        only_label=label,
        **pool,
    )
    expected = oracle.search(
        gallery,
        features,
        gallery[:q],
        features[1 : q + 1],
        k=10,
        exclude_group=excluded,
        only_label=label,
        **kinds,
        **pool,
    )
    assert_equal(result, expected)


def test_a_filter_is_an_index_of_fewer_items(clustered, rng):
    n = 3000
    gallery, features = clustered(n)
    ids, labels = rng.permutation(2 * n)[:n], rng.integers(-1, 3, n)
    chosen = rng.random(n) < 0.1
    options = {"threshold": 20, "k": 10}
    for known in (None, labels):
        built = index.build(gallery, features, bits=48, capacity=CAPACITY, ids=ids, labels=known)
        kept = index.keep(built, ids[chosen])
        left = chosen if known is None else chosen & (labels >= 0)
        expected = oracle.search(
            gallery[left], features[left], gallery[:4], features[:4], ids=ids[left], **options
        )
        assert_equal(both.search(kept, gallery[:4], features[:4], **options), expected)
        np.testing.assert_array_equal(
            both.search_hamming(kept, gallery[:4], k=10)[0],
            oracle.search_hamming(gallery[left], gallery[:4], k=10, ids=ids[left])[0],
        )
    # The original index is unchanged.
    all_of_it = oracle.search(
        gallery, features, gallery[:4], features[:4], ids=ids, labels=labels, **options
    )
    assert_equal(both.search(built, gallery[:4], features[:4], **options), all_of_it)


def test_the_items_on_a_device_are_a_pytree(clustered):
    gallery, features = clustered(100)
    built = index.build(gallery, features, capacity=CAPACITY, bits=48).on_device
    again = jax.tree.map(lambda x: x, built)
    assert again.bits == 48
    assert len(again) == 100


def test_errors_name_the_wrong_argument(clustered):
    gallery, features = clustered(10)
    bad = features.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"features: row 3 is not finite"):
        index.build(gallery, bad, bits=48)
    with pytest.raises(ValueError, match="overflow"):
        index.build(gallery, features * np.float32(1e30), bits=48)
    with pytest.raises(TypeError, match="float64"):
        index.build(gallery, features.astype(np.float64), bits=48)
    with pytest.raises(ValueError, match="rows of features"):
        index.build(gallery, features[:9], bits=48)
    with pytest.raises(ValueError, match="words"):
        index.build(gallery, features, bits=64 + 1)
    with pytest.raises(TypeError, match="uint32"):
        index.build(gallery.astype(np.int64), features, bits=48)
    with pytest.raises(ValueError, match="ids repeat"):
        index.build(gallery, features, capacity=CAPACITY, bits=48, ids=np.zeros(10, int))
    with pytest.raises(ValueError, match="groups"):
        index.build(gallery, features, capacity=CAPACITY, bits=48, groups=np.zeros(9, int))
    built = index.build(gallery, features, capacity=CAPACITY, bits=48)
    with pytest.raises(ValueError, match="query_features"):
        search.search(built, gallery, features[:, :3], threshold=3, k=2)
    with pytest.raises(ValueError, match="row 3 is not finite"):
        search.search(built, gallery, bad, threshold=3, k=2)
    with pytest.raises(ValueError, match="query_codes"):
        search.search(built, gallery[:, :1], features, threshold=3, k=2)
    with pytest.raises(ValueError, match="k is 0"):
        search.search(built, gallery, features, threshold=3, k=0)
    with pytest.raises(ValueError, match="threshold"):
        search.search(built, gallery, features, threshold=2.5, k=1)
    with pytest.raises(ValueError, match="exclude_group"):
        search.search(built, gallery, features, threshold=2, k=1, exclude_group=np.zeros(3, int))
    with pytest.raises(ValueError, match="no labels"):
        search.search(built, gallery, features, threshold=2, k=1, only_label=np.zeros(10, int))
    with pytest.raises(ValueError, match="exactly one of threshold and nearest"):
        search.search(built, gallery, features, k=1)
    with pytest.raises(ValueError, match="min_pool"):
        search.search(built, gallery, features, k=1, nearest=3, min_pool=2)
    with pytest.raises(ValueError, match="engine"):
        search.search(built, gallery, features, k=1, nearest=3, engine="faiss")
    with pytest.raises(ValueError, match="labels"):
        index.with_labels(built, np.zeros(9, int))


def test_bits_come_from_activations(rng):
    activations = rng.random((50, 20)).astype(np.float32)
    packed = codes.pack(codes.binarize(activations))
    built = index.build(packed, activations, bits=20)
    ids, distance = both.search_hamming(built, packed, k=1)
    assert (distance[:, 0] == 0).all()
    assert (packed[ids[:, 0]] == packed).all()


def test_64_bit_types_change_nothing():
    """In a separate process, because the setting affects all of JAX."""
    program = """
import both, numpy as np
from inres.retrieval import index
rng = np.random.default_rng(0)
packed = rng.integers(0, 4, (3000, 1)).astype(np.uint32)
features = rng.standard_normal((3000, 8), dtype=np.float32)
built = index.build(packed, features, bits=32)
for pool in ({"nearest": 50}, {"threshold": 33}):
    for q in (1, 4):
        result = both.search(built, packed[:q], features[:q], k=5, **pool)
        assert result.distance.dtype == np.float32
        np.testing.assert_array_equal(result.ids[:, 0], np.arange(q))
"""
    environment = {
        **quick.environment(),
        "JAX_ENABLE_X64": "1",
        "PYTHONPATH": os.pathsep.join((str(Path(__file__).parent), *filter(None, sys.path))),
    }
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_features_must_be_given(clustered):
    """The kernel would read them wherever they are."""
    codes, features = clustered(50)
    built = index.build(codes, features, bits=48)
    with pytest.raises(TypeError, match="query_features are None; search_hamming searches by"):
        search.search(built, codes[:2], None, k=3, threshold=5)
