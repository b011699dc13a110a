import both
import faiss
import jax
import numpy as np
import oracle
import pytest

from inres.retrieval import codes, hamming, index, tiling

pytestmark = pytest.mark.usefixtures("quick_programs")

WIDTHS = (12, 16, 32, 48, 64, 100, 128, 256)


def random_codes(rng, n, bits):
    return codes.pack(rng.random((n, bits)) < 0.5)


def features(n):
    return np.zeros((n, 1), np.float32)


@pytest.mark.parametrize("bits", WIDTHS)
def test_distances(bits, rng):
    a, b = random_codes(rng, 5, bits), random_codes(rng, 40, bits)
    # The complement is `bits` away: 256 does not fit a byte.
    b[:5] = codes.pack(~codes.unpack(a, bits))
    distance = np.asarray(hamming.distances(a, b))
    assert distance.dtype == np.int32
    np.testing.assert_array_equal(distance, oracle.hamming(a, b))
    assert distance[0, 0] == bits


@pytest.mark.parametrize("items", [0, 1, 1024, 1025, 40_000, 1_000_000, 10_000_000])
def test_capacity_is_close_above(items):
    capacity = tiling.tiles(items) * hamming.TILE
    assert items <= capacity <= max(1, items) * 17 / 16 + hamming.TILE


@pytest.mark.parametrize(("bits", "k"), [(64, 1), (64, 100), (128, 10), (256, 100)])
def test_top_k_agrees_with_faiss(bits, k, rng):
    gallery, queries = random_codes(rng, 30_000, bits), random_codes(rng, 3, bits)
    flat = faiss.IndexBinaryFlat(bits)
    flat.add(gallery.view(np.uint8))
    expected, _ = flat.search(queries.view(np.uint8), k)
    built = index.build(gallery, features(len(gallery)), bits=bits)
    ids, distance = both.search_hamming(built, queries, k=k)
    np.testing.assert_array_equal(distance, expected)
    np.testing.assert_array_equal(ids, oracle.search_hamming(gallery, queries, k=k)[0])


@pytest.mark.parametrize("bits", [12, 48])
def test_ties_go_to_the_lowest_id(bits, rng):
    gallery = random_codes(rng, 7, bits)[rng.integers(0, 7, 5000)]
    ids = rng.permutation(9000)[:5000]
    excluded = np.array([-1, 3])
    groups = rng.integers(-1, 5, 5000)
    built = index.build(gallery, features(5000), bits=bits, ids=ids, groups=groups)
    got = both.search_hamming(built, gallery[:2], k=40, exclude_group=excluded)
    expected = oracle.search_hamming(
        gallery, gallery[:2], k=40, groups=groups, exclude_group=excluded, ids=ids
    )
    np.testing.assert_array_equal(got[0], expected[0])
    np.testing.assert_array_equal(got[1], expected[1])


@pytest.mark.parametrize("items", [0, 1, 5])
def test_k_larger_than_the_index(items):
    # All codes are zero like the padding, which must not be returned.
    built = index.build(np.zeros((items, 1), np.uint32), features(items), bits=16)
    ids, distance = both.search_hamming(built, np.zeros((1, 1), np.uint32), k=8)
    np.testing.assert_array_equal(ids[0], [*range(items), *[-1] * (8 - items)])
    np.testing.assert_array_equal(distance[0], [0] * items + [-1] * (8 - items))


def test_keys_must_be_float32():
    with pytest.raises(TypeError, match="float32"):
        hamming.smallest(jax.numpy.arange(5), 2)
