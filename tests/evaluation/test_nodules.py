"""Search for whole nodules and orders within a class, compared with loops."""

import itertools

import numpy as np
import pytest

from inres.evaluation import nodules, within_class
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings

BITS, CLASSES = 6, 4


def side(seed, scans, nodules_each=2, slices=3, prefix=""):
    rng = np.random.default_rng(seed)
    rows = [
        (
            f"{prefix}s{s}",
            f"n{n}",
            1 + (s + n) % 3,
            4.0 + 5 * ((s + n) % 3) + s / 7,
            1 + (s + n) % 5,
        )
        for s in range(scans)
        for n in range(nodules_each)
        for _ in range(1 + (s + n) % slices)
    ]
    scan, nodule, label, diameter, malignancy = map(np.array, zip(*rows, strict=True))
    count = len(rows)
    return Embedded(
        labels=label.astype(np.int32),
        scans=scan,
        diameters_mm=diameter,
        bits=rng.random((count, BITS)) < 0.5,
        features={
            "fc1": rng.integers(0, 4, (count, 3)).astype(np.float32),
            "fc3": rng.normal(size=(count, CLASSES)).astype(np.float32),
        },
        names=np.arange(count).astype(str),
        malignancy=malignancy.astype(float),
        nodules=nodule,
    )


def euclidean(a, b):
    return np.sqrt(((a[:, None].astype(float) - b[None]) ** 2).sum(-1))


def hamming(a, b):
    return (a[:, None] != b[None]).sum(-1).astype(float)


def average_precision_of_all_orders(distances, relevant):
    """The mean over every order that the distances allow."""
    groups = [list(np.flatnonzero(distances == d)) for d in np.unique(distances)]
    found = []
    for orders in itertools.product(*(itertools.permutations(g) for g in groups)):
        hits = relevant[list(itertools.chain(*orders))]
        found.append(np.mean((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits]))
    return np.mean(found)


def test_nodules_are_ranked_by_the_mean_distance_of_their_slices():
    queries, gallery = side(0, 3), side(1, 4, prefix="g")
    found = nodules.evaluate(queries, gallery, Settings(classes=CLASSES, threshold=3))
    ours = [f"{s}/{n}" for s, n in zip(queries.scans, queries.nodules, strict=True)]
    theirs = [f"{s}/{n}" for s, n in zip(gallery.scans, gallery.nodules, strict=True)]
    code, fc1 = (
        hamming(queries.bits, gallery.bits),
        euclidean(queries.features["fc1"], gallery.features["fc1"]),
    )
    stored = sorted(set(theirs))
    labels = np.array([gallery.labels[theirs.index(name)] for name in stored])
    names = [ours[row] for row in found.first]
    assert sorted(set(ours)) == sorted(names)
    for q, name in enumerate(names):
        rows = np.array([other == name for other in ours])
        cells = [np.ix_(rows, np.array([other == wanted for other in theirs])) for wanted in stored]
        near, fine = (np.array([d[cell].mean() for cell in cells]) for d in (code, fc1))
        relevant = labels == queries.labels[found.first[q]]
        two = np.where(near < 3, fine, 1000 + near)
        for ranking, distances in (("hamming", near), ("fc1", fine), ("two_stage", two)):
            want = average_precision_of_all_orders(np.round(distances, 9), relevant)
            got = found.per_query[ranking]["average_precision"][q]
            assert got == pytest.approx(want), (ranking, name)
    assert found.counts == {
        "queries": len(names),
        "gallery": len(stored),
        "slices": [len(queries), len(gallery)],
    }


def test_the_own_scan_is_excluded_and_order_does_not_matter():
    both = side(2, 5)
    found = nodules.evaluate(both, both, Settings(classes=CLASSES, threshold=3))
    shuffle = np.random.default_rng(0).permutation(len(both))
    again = nodules.evaluate(both, both.take(shuffle), Settings(classes=CLASSES, threshold=3))
    for name, measures in found.rankings.items():
        assert again.rankings[name] == pytest.approx(measures, nan_ok=True), name
    assert found.rankings["hamming"]["precision_at_1_macro"] < 1  # itself is not found


def test_single_slices_and_mixed_nodules_are_not_searched_as_nodules():
    alone = side(3, 4, slices=1)
    assert nodules.evaluate(alone, alone, Settings(classes=CLASSES, threshold=3)) is None
    mixed = side(3, 4)
    assert nodules.mixed_nodule(mixed) == ""
    named = [f"{scan}/{name}" for scan, name in zip(mixed.scans, mixed.nodules, strict=True)]
    row = next(i for i in range(len(mixed)) if named.count(named[i]) > 1 and mixed.nodules[i])
    mixed.labels[row] = (mixed.labels[row] + 1) % CLASSES
    assert nodules.mixed_nodule(mixed) == named[row]
    assert nodules.evaluate(mixed, mixed, Settings(classes=CLASSES, threshold=3)) is None


def test_the_top_within_a_class_is_that_of_a_loop():
    queries, gallery = side(4, 4), side(5, 9, prefix="g")
    k = 4
    tops = within_class.top_of_class(queries, gallery, Settings(classes=CLASSES, threshold=3, k=k))
    fine = euclidean(queries.features["fc1"], gallery.features["fc1"])
    for q in range(len(queries)):
        own = np.flatnonzero(gallery.labels == queries.labels[q])
        gap = np.abs(gallery.diameters_mm[own] - queries.diameters_mm[q])
        assert tops["chance"]["diameter_error_mm"][q] == pytest.approx(gap.mean())
        # Ties at the last rank count in equal shares.
        d = np.round(fine[q, own], 9)
        edge = np.sort(d)[k - 1]
        inside, tied = d < edge, d == edge
        want = (gap[inside].sum() + (k - inside.sum()) * gap[tied].mean()) / k
        assert tops["fc1"]["diameter_error_mm"][q] == pytest.approx(want)


def test_matched_slices_are_counted_among_those_of_other_nodules():
    items = side(6, 6)
    found = within_class.matched_slices(items, Settings(classes=9, threshold=3))
    distances = hamming(items.bits, items.bits)
    key = np.array([f"{s}/{n}" for s, n in zip(items.scans, items.nodules, strict=True)])
    for q in range(len(items)):
        own = (items.labels == items.labels[q]) & (np.arange(len(items)) != q)
        sibling, other = own & (key == key[q]), own & (key != key[q])
        if not sibling.any() or not other.any():
            assert np.isnan(found["hamming"][q])
            continue
        a, b = distances[q][sibling][:, None], distances[q][other][None]
        assert found["hamming"][q] == pytest.approx(((b < a) + 0.5 * (b == a)).mean())
        assert found["chance"][q] == pytest.approx(0.5)
    alone = side(6, 6, slices=1)
    assert within_class.matched_slices(alone, Settings(classes=9, threshold=3)) is None


def test_a_perfect_order_is_better_than_a_random_one():
    queries, gallery = side(7, 12), side(8, 12, prefix="g")
    for one in (queries, gallery):
        one.features["fc1"][:] = one.diameters_mm[:, None]
    tops = within_class.top_of_class(
        queries, gallery, Settings(classes=CLASSES, threshold=BITS + 1)
    )
    rows = within_class.compared(tops, None, queries.scans, resamples=200)
    row = {(r["ranking"], r["measure"]): r for r in rows}["two_stage", "diameter_error_mm"]
    assert row["difference"] == pytest.approx(row["value"] - row["random"])
    assert row["high"] < 0
    assert row["p_value"] < 0.05
    assert not any(r["ranking"] == "chance" for r in rows)
