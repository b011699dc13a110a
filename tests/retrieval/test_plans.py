"""Every plan of the kernel finds the same: by buckets, by lists and by scans, in any segments."""

import dataclasses

import numpy as np
import oracle
import pytest

from inres.retrieval import buckets, checks, codes, index, native, search, segment, sketch

pytestmark = pytest.mark.skipif(native.kernel() is None, reason="no kernel was built")

PLANS = tuple(plan for plan in native.PLANS if plan != "auto")


@pytest.fixture(autouse=True)
def small_directories_have_buckets(monkeypatch):
    monkeypatch.setattr(buckets, "LEAST_CODES", 2)


def adversarial(kind, n, bits, rng):
    """Bits of n items."""
    if kind == "uniform":
        return rng.random((n, bits)) < 0.5
    if kind == "equal":
        return np.broadcast_to(rng.random(bits) < 0.5, (n, bits)).copy()
    if kind == "two":
        return (rng.random((2, bits)) < 0.5)[rng.integers(0, 2, n)]
    if kind == "few":
        return (rng.random((40, bits)) < 0.5)[rng.integers(0, 40, n)]
    if kind == "clustered":
        return (rng.random((8, bits)) < 0.5)[rng.integers(0, 8, n)] ^ (rng.random((n, bits)) < 0.05)
    assert kind == "one part differs"  # all substrings are shared but the last, or the first
    out = np.broadcast_to(rng.random(bits) < 0.5, (n, bits)).copy()
    part = max(1, bits // 4)
    out[: n // 2, :part] = rng.random((n // 2, part)) < 0.5
    out[n // 2 :, -part:] = rng.random((n - n // 2, part)) < 0.5
    return out


KINDS = ("uniform", "equal", "two", "few", "clustered", "one part differs")


@pytest.mark.parametrize("bits", [1, 2, 12, 31, 32, 33, 48, 64, 100, 128, 256])
@pytest.mark.parametrize("kind", KINDS)
def test_every_plan_equals_brute_force(kind, bits, rng):
    n, q, k, dims = 1500, 24, 7, 3
    made = adversarial(kind, n, bits, rng)
    packed = codes.pack(made)
    features = rng.integers(-3, 4, (n, dims)).astype(np.float32)
    groups, labels = rng.integers(-1, 3, n), rng.integers(-1, 3, n)
    ids = rng.permutation(2 * n)[:n]
    flips = rng.random((q, bits)) < rng.choice([0.0, 0.02, 0.1, 0.5], (q, 1))
    queries = codes.pack(made[rng.integers(0, n, q)] ^ flips)
    wanted = rng.integers(-3, 4, (q, dims)).astype(np.float32)
    # Among them those at which a substring may differ in one bit more.
    threshold = np.minimum(np.arange(q), bits + 1)
    given = {
        "exclude_group": rng.integers(-1, 3, q),
        "only_label": rng.integers(-1, 3, q),
    }
    tags = {"groups": groups, "labels": labels, "ids": ids}
    ids_, hamming, square, pool = oracle.search(
        packed, features, queries, wanted, k=k, threshold=threshold, **given, **tags
    )
    near_ids, near = oracle.search_hamming(packed, queries, k=k, **given, **tags)
    for built in (
        index.build(packed, features, bits=bits, **tags),
        in_segments(packed, features, bits=bits, cuts=(40, 41, 900), **tags),
    ):
        for plan in PLANS:
            for workers in (1, 3):
                how = {"plan": plan, "workers": workers}
                found = search.search(
                    built, queries, wanted, k=k, threshold=threshold, **given, **how
                )
                np.testing.assert_array_equal(found.pool_size, pool, plan)
                np.testing.assert_array_equal(found.ids, ids_, plan)
                np.testing.assert_array_equal(found.hamming, hamming, plan)
                np.testing.assert_allclose(found.distance**2, square, rtol=1e-6)
                found = search.search_hamming(built, queries, k=k, **given, **how)
                np.testing.assert_array_equal(found[0], near_ids, plan)
                np.testing.assert_array_equal(found[1], near, plan)


def in_segments(packed, features, *, bits, cuts, groups, labels, ids):
    """An Index whose items lie in several segments, one of them empty."""
    parts = [
        segment.build(
            packed[rows], features[rows], bits=bits, ids=ids[rows].astype(np.int32),
            groups=groups[rows].astype(np.int32), labels=labels[rows].astype(np.int32),
        )
        for rows in [*np.split(np.arange(len(packed)), cuts), np.arange(0)]
    ]  # fmt: skip
    return index.Index(tuple(parts), bits, features.shape[1])


@pytest.mark.parametrize("least", [1, 5, 600, 1400, 5000])
def test_a_least_pool_is_the_same_with_few_items_and_with_many(least, rng, monkeypatch):
    n, bits, q = 1500, 24, 9
    packed = codes.pack(adversarial("clustered", n, bits, rng))
    features = rng.integers(-3, 4, (n, 2)).astype(np.float32)
    tags = {"groups": rng.integers(-1, 3, n), "labels": rng.integers(-1, 3, n)}
    tags["ids"] = np.arange(n)
    given = {"exclude_group": rng.integers(-1, 3, q), "threshold": rng.integers(0, 4, q)}
    queries = codes.pack(rng.random((q, bits)) < 0.5)
    expected = oracle.search(
        packed, features, queries, features[:q], k=4, min_pool=least, **given, **tags
    )
    for built in (
        index.build(packed, features, bits=bits, **tags),
        in_segments(packed, features, bits=bits, cuts=(700,), **tags),
    ):
        for few in (0, 10_000):
            monkeypatch.setattr(search, "FEW", few)
            found = search.search(built, queries, features[:q], k=4, min_pool=least, **given)
            np.testing.assert_array_equal(found.pool_size, expected[3])
            np.testing.assert_array_equal(found.ids, expected[0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("plan", PLANS)
def test_features_of_half_the_bytes_are_widened_exactly(dtype, plan, rng):
    import ml_dtypes

    n, bits, dims = 4000, 16, 37
    kind = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    wide = rng.standard_normal((n, dims), dtype=np.float32) * 10.0 ** rng.integers(-8, 4, (n, 1))
    narrow = wide.astype(kind)
    packed = codes.pack(rng.random((n, bits)) < 0.5)
    queries = rng.standard_normal((5, dims), dtype=np.float32)
    options = {"threshold": 8, "k": 20, "plan": plan}
    half = search.search(index.build(packed, narrow, bits=bits), packed[:5], queries, **options)
    full = search.search(
        index.build(packed, narrow.astype(np.float32), bits=bits), packed[:5], queries, **options
    )
    for name in ("ids", "distance", "pool_size"):
        np.testing.assert_array_equal(getattr(half, name), getattr(full, name))


def test_the_chosen_plan_reads_few_codes_of_a_large_directory(rng):
    # By the buckets, a search touches no page of the codes but those of its buckets.
    n, bits = 200_000, 64
    packed = codes.pack(rng.random((n, bits)) < 0.5)
    built = index.build(packed, np.zeros((n, 1), np.float32), bits=bits)
    (part,) = built.segments
    spoiled = part.directory.codes.copy()
    found = np.flatnonzero((part.directory.distinct() == packed[7]).all(axis=1))[0]
    keep = {found // segment.CHUNK}
    for number, cut in enumerate(
        buckets.cuts(bits, part.directory.buckets.width, len(part.directory.buckets.tables))
    ):
        value = cut.of(packed[7:8])[0]
        table = part.directory.buckets.tables[number]
        rows = np.arange(table[value], table[value + 1])
        rows = rows if number == 0 else part.directory.buckets.rows[number - 1, rows]
        keep |= set((rows // segment.CHUNK).tolist())
    assert len(keep) < 100
    far = ~packed[7]
    spoiled[[c for c in range(len(spoiled)) if c not in keep]] = far[:, None]
    directory = dataclasses.replace(part.directory, codes=spoiled)
    other = dataclasses.replace(built, segments=(dataclasses.replace(part, directory=directory),))
    zero = np.zeros((1, 1), np.float32)
    for threshold in (1, 2, 3):
        found = search.search(other, packed[7:8], zero, threshold=threshold, k=5)
        np.testing.assert_array_equal(found.ids[0], [7, -1, -1, -1, -1])


def test_memory_of_the_buckets_of_uniform_codes(rng):
    for n in (10_000, 100_000, 1_000_000):
        found = buckets.build(codes.pack(sorted_bits(n, rng)), 64)
        assert found.tables.nbytes + found.rows.nbytes <= 12 * n


def sorted_bits(n, rng):
    packed = codes.pack(rng.random((n, 64)) < 0.5)
    return codes.unpack(packed[codes.sort(packed, np.arange(n))], 64)


@pytest.mark.parametrize("bits", range(1, 70))
def test_substrings_are_disjoint_bits_of_the_code(bits):
    single = codes.pack(np.eye(bits, dtype=bool))  # a code for each bit
    for width in range(1, min(bits, 24) + 1):
        for count in range(1, bits // width + 1):
            seen = np.array([cut.of(single) != 0 for cut in buckets.cuts(bits, width, count)])
            assert (seen.sum(axis=1) == width).all()
            assert seen.sum(axis=0).max() == 1


def test_an_unknown_plan_is_an_error(rng):
    packed = codes.pack(rng.random((3, 8)) < 0.5)
    built = index.build(packed, np.zeros((3, 1), np.float32), bits=8)
    with pytest.raises(ValueError, match="plan is 'magic', must be one of"):
        search.search_hamming(built, packed, k=1, plan="magic")
    queries = checks.queries(packed, None, bits=8, dims=1, k=1)
    assert native.nearest(built.kernel_items, queries, k=1)[2].dtype == np.int64


@pytest.mark.parametrize("far", [0.0, 1e18])
def test_the_bound_of_the_sketch_holds(far, rng):
    rows = rng.standard_normal((2500, 9), dtype=np.float32) * 10.0 ** rng.integers(-3, 3, (2500, 1))
    rows[::700] += np.float32(far)
    rows = rows.astype(np.float32)
    made = sketch.of_rows(rows)
    wide = rows.astype(np.float64)
    for tile in range(3):
        part = slice(1024 * tile, 1024 * (tile + 1))
        copy = made.centre[tile] + made.codes[part] * made.scale[part, None].astype(np.float64)
        error = np.sqrt(((wide[part] - copy) ** 2).sum(axis=1))
        assert (error <= made.slack[tile]).all()
        length = ((made.codes[part] * made.scale[part, None].astype(np.float64)) ** 2).sum(axis=1)
        np.testing.assert_allclose(made.norm[part], length, rtol=1e-5)
