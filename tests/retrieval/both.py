"""Search with every available engine and check that they agree."""

import numpy as np

from inres.retrieval import native
from inres.retrieval import search as search_lib

ENGINES = ("jax", "native") if native.kernel() is not None else ("jax",)


def search(built, query_codes, query_features, **options):
    results = [
        search_lib.search(built, query_codes, query_features, engine=engine, **options)
        for engine in ENGINES
    ]
    for other in results[1:]:
        for name in ("ids", "hamming", "pool_size", "threshold"):
            mine, theirs = getattr(results[0], name), getattr(other, name)
            assert mine.dtype == theirs.dtype == np.int32
            np.testing.assert_array_equal(mine, theirs, name)
        # The engines sum in different orders.
        np.testing.assert_allclose(results[0].distance, other.distance, rtol=1e-6)
    return results[0]


def search_hamming(built, query_codes, **options):
    results = [search_lib.search_hamming(built, query_codes, engine=e, **options) for e in ENGINES]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0][0], other[0])
        np.testing.assert_array_equal(results[0][1], other[1])
    return results[0]
