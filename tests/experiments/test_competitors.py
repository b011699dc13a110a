"""Competitors of the search: answers against NumPy, settings, and what happens to wrong ones."""

import sys

import numpy as np
import pytest

from experiments.bench import competitors, timing
from experiments.bench.competitors import fine_stage, hashing, verify
from experiments.bench.competitors.faiss_flat import FaissFlat
from experiments.bench.competitors.faiss_multi_hash import FaissMultiHash
from experiments.bench.competitors.hashing import Cut, Hashing
from experiments.bench.competitors.interface import NotApplicable
from experiments.bench.retrieval_case import build_competitors, near_codes
from experiments.configs.bench_retrieval import get_config
from inres.retrieval import codes as codes_lib

ITEMS = 600


@pytest.fixture(autouse=True)
def _no_trials(monkeypatch):
    """Settings are not tried, which takes time: the first one is used."""
    monkeypatch.setattr(timing, "fastest", lambda options, attempt: options[0])


def competitor(name):
    """The class of a module; skips the test where its package is missing."""
    found, missing = competitors.installed((name,))
    if missing:
        pytest.skip(missing[0])
    return found[0]


@pytest.fixture(scope="module", params=(12, 48, 64, 128))
def case(request):
    """Sorted items of 20 distinct codes with a few bits flipped, queries, and all distances."""
    bits = request.param
    rng = np.random.default_rng(bits)
    codes = (rng.random((20, bits)) < 0.5)[rng.integers(0, 20, ITEMS + 5)]
    codes[::3] ^= rng.random(codes[::3].shape) < 0.1
    packed = codes_lib.pack(codes)
    order = np.lexsort(packed[:ITEMS].T[::-1])
    distance = (codes[None, :ITEMS][:, order] != codes[ITEMS:, None]).sum(axis=2)
    return bits, packed[:ITEMS][order], packed[ITEMS:], distance


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", competitors.CLASSES)
def test_answers_equal_numpy(name, threads, case):
    bits, items, queries, distance = case
    rival = competitor(name)(items, bits, threads=threads)
    answered = 0
    for q in (1, 5):
        for k in (1, 50):
            try:
                rival.prepare_top_k(queries[:q], k)
            except NotApplicable:
                continue
            answered += 1
            expected = np.sort(distance[:q], axis=1)[:, :k]
            np.testing.assert_array_equal(rival.top_k(queries[:q], k), expected)
        for threshold in (1, 2, 3, 5, bits // 3, bits):
            try:
                rival.prepare_pools(queries[:q], threshold)
            except NotApplicable:
                continue
            answered += 1
            for pool, row in zip(rival.pools(queries[:q], threshold), distance, strict=False):
                np.testing.assert_array_equal(np.sort(pool), np.flatnonzero(row < threshold))
    assert answered >= 4 or (name, threads) == ("faiss_shards", 1)


@pytest.mark.parametrize("name", ["faiss_multi_hash", "faiss_hash", "pynear_mih"])
def test_every_cut_is_exact_within_its_radius(name, case):
    bits, items, queries, distance = case
    rival = competitor(name)(items, bits, threads=1)
    assert isinstance(rival, Hashing)
    checked = 0
    for cut in rival._cuts():
        for radius in range(0, min(bits, 16)):
            if cut.buckets(cut.flips(radius)) > 5000:
                continue
            assert cut.reach(cut.flips(radius)) >= radius
            rival._use(cut, radius, False)
            for pool, row in zip(rival.pools(queries, radius + 1), distance, strict=True):
                np.testing.assert_array_equal(np.sort(pool), np.flatnonzero(row <= radius))
            checked += 1
    assert checked > 5


@pytest.mark.parametrize("choice", [0, 1])
def test_both_ways_of_faiss_to_keep_the_nearest_are_exact(choice, case, monkeypatch):
    bits, items, queries, distance = case
    monkeypatch.setattr(timing, "fastest", lambda options, attempt: options[choice])
    rival = FaissFlat(items, bits, threads=1)
    assert rival.prepare_top_k(queries, 50) == ("heap", "counting")[choice]
    expected = np.sort(distance, axis=1)[:, :50]
    np.testing.assert_array_equal(rival.top_k(queries, 50), expected)


def test_flips_follow_from_the_pigeonhole_principle():
    cut = Cut(4, 16)
    assert [cut.flips(radius) for radius in (0, 3, 4, 7, 8, 64)] == [0, 0, 1, 1, 2, 16]
    assert [cut.reach(flips) for flips in (0, 1, 16)] == [3, 7, np.inf]
    assert cut.buckets(1) == 4 * 17


def test_a_radius_beyond_the_reach_is_refused_and_far_queries_are_scanned(case):
    bits, items, queries, distance = case
    rival = FaissMultiHash(items, bits, threads=1)
    rival._use(rival._cuts()[0], 0, False)
    with pytest.raises(NotApplicable, match="not exact"):
        rival.pools(queries, 1 + 2 * bits)
    np.testing.assert_array_equal(rival.top_k(queries, 300), np.sort(distance, axis=1)[:, :300])


def test_a_radius_for_which_a_scan_is_faster_is_refused(case, monkeypatch):
    bits, items, queries, _ = case
    monkeypatch.setattr(hashing, "LONGEST_SECONDS", 0.0)
    with pytest.raises(NotApplicable, match="scan"):
        FaissMultiHash(items, bits, threads=1).prepare_pools(queries, bits)


def test_indexes_of_other_cuts_are_dropped_where_memory_is_short(case, monkeypatch):
    bits, items, queries, _ = case
    monkeypatch.setattr(hashing, "KEPT_BYTES", 0)
    rival = FaissMultiHash(items, bits, threads=1)
    first, last = Cut(2, bits // 2 // 8 * 4), Cut(3, 4)
    for cut in (first, last, first):
        rival._use(cut, 1, False)
        assert [*rival._built] == [cut]
        assert len(rival.pools(queries, 2)) == len(queries)


def test_pools_above_the_limit_of_sqlite_vec(case, monkeypatch):
    bits, items, queries, distance = case
    scan = competitor("sqlite_vec_scan")
    monkeypatch.setattr(sys.modules[scan.__module__], "MOST_NEIGHBOURS", 7)
    rival = scan(items, bits, threads=1)
    for threshold in (1, bits):
        for pool, row in zip(rival.pools(queries, threshold), distance, strict=True):
            np.testing.assert_array_equal(np.sort(pool), np.flatnonzero(row < threshold))
    with pytest.raises(NotApplicable, match="limited to 7"):
        rival.prepare_top_k(queries, 8)


class MissesOne(FaissFlat):
    """A competitor whose pools lack an item."""

    name = "misses one"

    def pools(self, codes, threshold):
        return [pool[1:] for pool in super().pools(codes, threshold)]


class Fails(FaissFlat):
    """A competitor that fails."""

    name = "fails"

    def top_k(self, codes, k):
        raise RuntimeError("no such option")


def test_wrong_answers_are_found_before_use(monkeypatch):
    assert verify.fault(FaissFlat, 32, 1) == ""
    assert "wrong pool" in verify.fault(MissesOne, 32, 1)
    assert "RuntimeError: no such option" in verify.fault(Fails, 32, 1)
    items = verify.small_case(32)[0]
    config = get_config()
    monkeypatch.setattr(competitors, "installed", lambda _: ([FaissFlat, MissesOne, Fails], []))
    built, reasons = build_competitors(config, items, 32)
    assert [rival.name for rival in built] == ["faiss IndexBinaryFlat"]
    assert "wrong pool" in reasons["misses one"]
    assert "no such option" in reasons["fails"]
    monkeypatch.setattr(competitors, "installed", lambda _: ([MissesOne], []))
    with pytest.raises(RuntimeError, match=r"misses one, the reference: wrong pool"):
        build_competitors(config, items, 32)


def test_a_competitor_with_too_many_items_is_left_out(monkeypatch):
    class Small(FaissFlat):
        name, most_items = "small", 100

    monkeypatch.setattr(competitors, "installed", lambda _: ([FaissFlat, Small], []))
    _, reasons = build_competitors(get_config(), verify.small_case(32)[0], 32)
    assert reasons == {"small": "built for at most 100 items"}


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch", None)
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    monkeypatch.delitem(sys.modules, "experiments.bench.competitors.usearch_exact", raising=False)
    found, (message,) = competitors.installed(("faiss_flat", "usearch_exact"))
    assert found == [FaissFlat]
    assert "usearch" in message
    assert "pip install -e '.[bench]'" in message
    with pytest.raises(ValueError, match="no competitor 'faiss'"):
        competitors.installed(("faiss",))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("q", [1, 3])
def test_the_fine_stage_equals_numpy(q, threads, monkeypatch):
    monkeypatch.setattr(fine_stage, "LEAST_VALUES", 1)
    monkeypatch.setattr(fine_stage, "SMALL", 10)
    monkeypatch.setattr(fine_stage, "BLOCK_BYTES", 4 * 8 * 32)  # 32 rows
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 8), dtype=np.float32)
    queries = rng.standard_normal((q, 8), dtype=np.float32)
    for sizes in ((0, 5, 100), (10, 11, 1), (65, 400, 64)):
        pools = [rng.permutation(400)[:size] for size in sizes[:q]]
        ranked = fine_stage.rank(pools, features, queries, 20, threads=threads)
        for i, (pool, found) in enumerate(zip(pools, ranked, strict=True)):
            square = ((features[pool].astype(float) - queries[i]) ** 2).sum(axis=1)
            order = np.argsort(square)[:20]
            assert found.size == len(pool)
            np.testing.assert_array_equal(found.ids, pool[order])
            np.testing.assert_allclose(found.square, square[order], rtol=1e-5)


def test_near_codes_differ_from_an_item_in_two_bits():
    items = verify.small_case(48)[0]
    near = near_codes(items, 48, seed=0)
    least = np.bitwise_count(near[:20, None] ^ items[None]).sum(axis=2)
    assert (least == 2).any(axis=1).all()


def test_the_fastest_option_is_found(monkeypatch):
    monkeypatch.undo()
    now = 0

    def attempt(option):
        nonlocal now
        now += {"slow": 30, "fast": 3, "slower": 40}[option]

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now)
    assert timing.fastest(("slow", "fast", "slower"), attempt) == "fast"
