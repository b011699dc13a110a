"""The search on accelerators: thresholds found by counting give what NumPy finds by sorting."""

import re

import jax
import numpy as np
import oracle
import pytest
from test_index import assert_equal

from inres.retrieval import (
    checks,
    coarse,
    codes,
    counting,
    device_index,
    index,
    padding,
    plans,
    runs,
    search,
)

pytestmark = pytest.mark.usefixtures("quick_programs")

ITEMS = 9000


@pytest.fixture
def by_counting(monkeypatch):
    """The jitted programs as on an accelerator."""
    monkeypatch.setattr(coarse, "nearest", counting.nearest)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize(("n", "k"), [(5, 5), (700, 99)])
def test_smallest_is_a_stable_sort(n, k, rng):
    program = jax.jit(counting.smallest, static_argnames=("k", "largest"))
    for most in (0, 3, 500):  # 500: many values above the largest, which count as equal
        values = rng.integers(0, most + 1, n).astype(np.uint32)
        expected = np.sort(np.argsort(np.minimum(values, 65), kind="stable")[:k])
        np.testing.assert_array_equal(program(values, k, largest=64), expected)


def both_filters(rng, labelled):
    labels = rng.integers(-1, 3, ITEMS) if labelled else None
    only = np.array([-1, 0, 2, 1, 1]) if labelled else None
    items = {"groups": rng.integers(-1, 4, ITEMS), "labels": labels}
    return items, {"exclude_group": np.array([-1, 3, 0, 0, 1]), "only_label": only}


@pytest.mark.parametrize(
    ("bits", "k", "labelled", "distinct"),
    [(64, 3, True, ITEMS), (256, 3, False, ITEMS), (12, 30, True, 300), (48, 9500, False, ITEMS)],
)
def test_the_nearest_codes(bits, k, labelled, distinct, by_counting, monkeypatch, rng):
    # k = 3: four of nine tiles are chosen. k = 9500: all, and more items than there are.
    if k == 30:
        monkeypatch.setattr(counting, "WORDS_AT_ONCE", 1 << 14)  # one query at a time
    packed = codes.pack(rng.random((distinct, bits)) < 0.5)[rng.integers(0, distinct, ITEMS)]
    ids = rng.permutation(2 * ITEMS)[:ITEMS]
    items, filters = both_filters(rng, labelled)
    queries = packed[:5].copy()
    queries[0] ^= codes.pack(np.ones((1, bits), bool))[0]  # the complement: a distance of 256
    built = index.build(packed, np.zeros((ITEMS, 1), np.float32), bits=bits, ids=ids, **items)
    assert isinstance(built.on_device.codes, runs.Runs) == (distinct == 300)
    got = search.search_hamming(built, queries, k=k, engine="jax", **filters)
    expected = oracle.search_hamming(packed, queries, k=k, ids=ids, **items, **filters)
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


@pytest.mark.parametrize("items", [0, 5])
def test_padding_is_not_found(items, by_counting):
    # All codes are zero like the padding.
    built = index.build(
        np.zeros((items, 1), np.uint32), np.zeros((items, 1), np.float32), bits=16, capacity=2048
    )
    ids, distance = search.search_hamming(built, np.zeros((1, 1), np.uint32), k=8, engine="jax")
    found = min(items, 8)
    np.testing.assert_array_equal(ids[0], [*range(found), *[-1] * (8 - found)])
    np.testing.assert_array_equal(distance[0], [0] * found + [-1] * (8 - found))


def test_both_stages(by_counting, clustered, rng):
    packed, features = clustered(ITEMS, bits=64)
    items, filters = both_filters(rng, labelled=False)
    queries = packed[:5], features[1:6]
    built = index.build(packed, features, bits=64, **items)
    pool = {"nearest": 50}
    got = search.search(built, *queries, k=20, engine="jax", **pool, **filters)
    assert_equal(got, oracle.search(packed, features, *queries, k=20, **pool, **items, **filters))


def sorted_lengths(text):
    """Lengths of what a lowered program sorts or takes the largest of."""
    sorts = re.findall(r'stablehlo\.sort".*?\}\) : \(tensor<([0-9x]+)x', text, re.DOTALL)
    largest = re.findall(r"chlo\.top_k\([^)]*\) : tensor<([0-9x]+)x", text)
    return sorted(int(shape.split("x")[-1]) for shape in sorts + largest)


def test_accelerators_sort_no_items(rng):
    """The program is chosen by the platform that it is lowered for."""
    packed = codes.pack(rng.random((200_000, 64)) < 0.5)
    built = device_index.build(packed, np.zeros((200_000, 1), np.float32), bits=64)
    queries = padding.padded(checks.queries(packed[:1], None, bits=64, dims=1, k=10))
    traced = plans.nearest.trace(built, queries, k=10)
    for platform in ("cuda", "tpu"):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert sorted_lengths(text) == [10]
        assert "stablehlo.popcnt" in text
        assert "f64" not in text
        assert "callback" not in text
    # On a CPU: tiles, blocks and items.
    text = traced.lower(lowering_platforms=("cpu",)).as_text()
    assert sorted_lengths(text)[-3:] == [176, 200, 704]
