"""A search equals brute force for any data. Few shapes are used, so that programs are shared."""

import both
import faiss
import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import oracle
import pytest
from test_index import assert_equal, search_all

from inres.retrieval import checks, codes, index, padding, plans

pytestmark = pytest.mark.slow

CAPACITY = 4096
DIMS = 4
BITS = 48


def data_set(kind, n, seed):
    """Codes, features, ids and groups of n items, with many ties of every kind."""
    rng = np.random.default_rng(seed)
    bits = rng.random((n, BITS)) < 0.5
    if kind == "equal codes":
        bits[:] = bits[:1]
    elif kind == "zero codes":
        bits[:] = False
    elif kind == "few codes":
        bits = bits[rng.integers(0, min(n, 5), n)] if n else bits
    elif kind == "close codes":
        bits = (bits[:1] if n else bits) ^ (rng.random((n, BITS)) < 0.1)
    features = rng.integers(-3, 4, (n, DIMS)).astype(np.float32)
    if seed % 3 == 0:
        features[:] = features[rng.integers(0, min(n, 4), n)] if n else features
    return codes.pack(bits), features, rng.permutation(2 * n)[:n], rng.integers(-1, 3, n)


KINDS = ("random", "equal codes", "zero codes", "few codes", "close codes")
COUNTS = st.sampled_from((0, 1, 2, 15, 16, 17, 1000, 1023, 1024, 1025, 3000, CAPACITY))


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(
    kind=st.sampled_from(KINDS),
    n=COUNTS,
    seed=st.integers(0, 1000),
    thresholds=st.lists(st.integers(0, BITS + 2), min_size=4, max_size=4),
    zero_query=st.booleans(),
    min_pool=st.sampled_from((0, 0, 1, 30)),
)
def test_search_equals_brute_force(kind, n, seed, thresholds, zero_query, min_pool):
    packed, features, ids, groups = data_set(kind, n, seed)
    rng = np.random.default_rng(seed + 1)
    rows = rng.integers(0, n, 4) if n else np.zeros(4, int)
    query_codes = packed[rows] if n and not zero_query else np.zeros((4, 2), np.uint32)
    query_features = rng.integers(-3, 4, (4, DIMS)).astype(np.float32)
    excluded = rng.integers(-1, 3, 4)
    built = index.build(packed, features, bits=BITS, ids=ids, groups=groups, capacity=CAPACITY)
    result = search_all(
        built, query_codes, query_features, threshold=np.array(thresholds), k=10,
        exclude_group=excluded, min_pool=min_pool,
    )  # fmt: skip
    expected = oracle.search(
        packed, features, query_codes, query_features,
        threshold=thresholds, k=10, groups=groups, exclude_group=excluded, ids=ids,
        min_pool=min_pool,
    )  # fmt: skip
    assert_equal(result, expected)
    got = both.search_hamming(built, query_codes, k=10, exclude_group=excluded)
    wanted = oracle.search_hamming(
        packed, query_codes, k=10, groups=groups, exclude_group=excluded, ids=ids
    )
    np.testing.assert_array_equal(got[0], wanted[0])
    np.testing.assert_array_equal(got[1], wanted[1])


def test_two_stages_agree_with_faiss(clustered):
    gallery, _ = clustered(4000, dims=DIMS)
    rng = np.random.default_rng(3)
    features = rng.standard_normal((4000, DIMS), dtype=np.float32)
    queries = rng.standard_normal((4, DIMS), dtype=np.float32)
    binary, flat = faiss.IndexBinaryFlat(BITS), faiss.IndexFlatL2(DIMS)
    octets = np.ascontiguousarray(gallery.view(np.uint8)[:, : BITS // 8])
    binary.add(octets)
    flat.add(features)
    built = index.build(gallery, features, bits=BITS, capacity=CAPACITY)
    result = search_all(built, gallery[:4], queries, threshold=9, k=10)
    ends, _, pool = binary.range_search(octets[:4], 9)
    for row in range(4):
        chosen = pool[ends[row] : ends[row + 1]]
        only = faiss.SearchParameters(sel=faiss.IDSelectorBatch(chosen))
        square, ids = flat.search(queries[row : row + 1], 10, params=only)
        assert result.pool_size[row] == len(chosen)
        np.testing.assert_array_equal(result.ids[row], ids[0])
        np.testing.assert_allclose(result.distance[row] ** 2, square[0], rtol=1e-4)


@pytest.mark.parametrize("distinct", [3000, 50])
def test_matrix_products_on_accelerators_have_full_precision(distinct, clustered):
    gallery, features = clustered(3000, dims=DIMS)
    gallery = gallery[np.arange(3000) % distinct]
    built = index.build(gallery, features, bits=BITS)
    queries = padding.padded(
        checks.queries(
            gallery[:4],
            features[:4],
            bits=BITS,
            dims=DIMS,
            k=10,
            threshold=9,
            exclude_group=[-1] * 4,
        )
    )
    ranked = jax.jit(lambda *c: plans.ranked(*c, k=10)).trace(built.on_device, queries)
    nearest = jax.jit(lambda *c: plans.nearest(*c, k=10)).trace(built.on_device, queries)
    for platform in ("cuda", "tpu"):
        text = ranked.lower(lowering_platforms=(platform,)).as_text()
        products = [line for line in text.splitlines() if "dot_general" in line]
        assert products
        for line in products:
            assert line.count("HIGHEST") == 2, line
        nearest.lower(lowering_platforms=(platform,))
