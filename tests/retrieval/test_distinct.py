"""Search for distinct units, compared with a loop over the whole ranking."""

import numpy as np
import pytest

from inres.retrieval import distinct, index, search


@pytest.mark.parametrize(("units", "k"), [(1, 3), (7, 3), (7, 10), (90, 20), (300, 4)])
def test_each_unit_is_found_once_by_its_nearest_item(clustered, rng, units, k):
    codes, features = clustered(300)
    of_item = rng.integers(0, units, 300).astype(str)
    ids = np.sort(rng.choice(1000, 300, replace=False)).astype(np.int32)
    built = index.build(codes, features, bits=48, ids=ids)
    counts = []

    def find(count):
        counts.append(count)
        return search.search(built, codes[:5], features[:5], threshold=20, k=count)

    found = distinct.search_distinct(find, lambda some: of_item[np.isin(ids, some)], k=k)
    whole = search.search(built, codes[:5], features[:5], threshold=20, k=300)
    for q in range(5):
        want, seen = [], set()
        for place, item in enumerate(whole.ids[q]):
            unit = of_item[np.flatnonzero(ids == item)[0]] if item >= 0 else None
            if item >= 0 and unit not in seen and len(want) < k:
                seen.add(unit)
                want.append(place)
        np.testing.assert_array_equal(found.ids[q, : len(want)], whole.ids[q, want])
        np.testing.assert_array_equal(found.hamming[q, : len(want)], whole.hamming[q, want])
        np.testing.assert_array_equal(found.distance[q, : len(want)], whole.distance[q, want])
        assert (found.ids[q, len(want) :] == -1).all()
        assert (found.hamming[q, len(want) :] == -1).all()
        assert np.isinf(found.distance[q, len(want) :]).all()
    assert found.ids.shape == (5, k)
    np.testing.assert_array_equal(found.pool_size, whole.pool_size)
    assert counts == [k * 2**i for i in range(len(counts))]


def test_an_empty_pool_has_no_units(clustered):
    codes, features = clustered(20)
    built = index.build(codes, features, bits=48)

    def find(count):
        return search.search(built, ~codes[:2] & 0xFFFF, features[:2], threshold=1, k=count)

    found = distinct.search_distinct(find, lambda ids: ids, k=3)
    assert (found.ids == -1).all()
    assert (found.pool_size == 0).all()
