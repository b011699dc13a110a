"""Pools that hold at least a share of the gallery."""

import dataclasses

import numpy as np
import pytest
from test_protocol import embedded

from inres.evaluation.distances import hamming_distances, pool_limits
from inres.evaluation.protocol import evaluate
from inres.evaluation.settings import Settings


def test_a_threshold_is_the_least_that_lets_enough_items_in():
    rng = np.random.default_rng(0)
    hamming, excluded = rng.integers(0, 9, (40, 25)), rng.random((40, 25)) < 0.2
    excluded[3] = True
    for least in (0, 1, 7, 25):
        found = pool_limits(hamming, excluded, threshold=2, least=least)
        for row in range(40):
            allowed = hamming[row][~excluded[row]]
            wanted = min(least, len(allowed))
            want = next(t for t in range(2, 11) if (allowed < t).sum() >= wanted)
            assert found[row] == want


def test_the_search_uses_the_raised_thresholds():
    rng = np.random.default_rng(1)
    queries, gallery = embedded(rng, 20, prefix="q"), embedded(rng, 90, prefix="g")
    found = evaluate(queries, gallery, Settings(classes=4, threshold=1, least_pool=0.2, k=5))
    hamming = hamming_distances(queries.bits, gallery.bits)
    sizes, kept, limits = [], [], []
    for row, near in zip(hamming, found.top, strict=True):
        limit = next(t for t in range(1, 9) if (row < t).sum() >= 18)
        limits.append(limit)
        sizes.append((row < limit).sum())
        assert (row[near] < limit).all()
        fine = ((queries.features["fc1"][len(kept)] - gallery.features["fc1"]) ** 2).sum(axis=1)
        true = fine <= np.sort(fine)[4]
        kept.append(min((true & (row < limit)).sum(), 5) / 5)
    assert found.pool["mean_size"] == pytest.approx(np.mean(sizes))
    assert found.pool["mean_share"] == pytest.approx(np.mean(sizes) / 90)
    assert found.pool["mean_threshold"] == pytest.approx(np.mean(limits))
    assert found.pool["neighbours_kept"] == pytest.approx(np.mean(kept))


def test_no_result_depends_on_the_order_of_the_gallery():
    rng = np.random.default_rng(2)
    queries, gallery = embedded(rng, 12, prefix="q"), embedded(rng, 50, prefix="g")
    settings = Settings(classes=4, threshold=1, least_pool=0.3)
    found = evaluate(queries, gallery, settings)
    shuffled = evaluate(queries, gallery.take(rng.permutation(50)), settings)
    assert shuffled.rankings["two_stage"] == found.rankings["two_stage"]
    assert shuffled.pool == found.pool
    with pytest.raises(ValueError, match=r"least_pool is 1\.5"):
        evaluate(queries, gallery, dataclasses.replace(settings, least_pool=1.5))
