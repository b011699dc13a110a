"""Similarity by properties, compared with loops over every order of ties."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from inres.evaluation import nodules, protocol
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings

K = 3
SETTINGS = Settings(classes=3, threshold=2, k=K, weights={"margin": 2.0, "subtlety": 0.0})


def side(seed, n, prefix):
    """Few codes and features, most distances tie; some values are unknown, some items normal."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n).astype(np.int32)

    def rating(unknown):
        return np.where(rng.random(n) < unknown, np.nan, rng.integers(1, 6, n))

    return Embedded(
        labels=labels,
        scans=np.array([f"{prefix}{i // 2}" for i in range(n)]),
        diameters_mm=np.where(labels > 0, 4.0, 0.0),
        bits=rng.random((n, 2)) < 0.5,
        features={"fc1": rng.integers(0, 2, (n, 1)).astype(np.float32)},
        names=np.array([f"{prefix}-{i}" for i in range(n)]),
        nodules=np.array([f"n{i // 2}" for i in range(n)]),
        properties={
            "diameter_mm": np.where(labels > 0, rng.uniform(3, 30, n), 0.0),
            "margin": rating(0.3),
            "custom": rating(0.5),
            "subtlety": rating(0.0),
        },
    )


def orders(distances):
    """Every order of the items that the distances allow."""
    groups = [list(np.flatnonzero(distances == d)) for d in np.unique(distances)]
    for parts in itertools.product(*(itertools.permutations(group) for group in groups)):
        yield list(itertools.chain(*parts))


def scale_of(values, nodule, logarithmic):
    known = values[nodule & np.isfinite(values)]
    return np.std(np.log(known) if logarithmic else known)


def expected(distances, queries, gallery, q):
    """All scores of query q as in the text of the protocol, for distances [n] of n items."""
    nodule = gallery.labels > 0
    weights = {"diameter_mm": 1.0, "margin": 2.0, "custom": 1.0, "subtlety": 0.0}
    gaps, gains = {}, {}
    for name in weights:
        ours, theirs = queries.properties[name][q], gallery.properties[name]
        log = name == "diameter_mm"
        theirs = np.where(nodule, theirs, np.nan)
        scale = scale_of(theirs, nodule, log)
        gaps[name] = np.abs(theirs - ours)
        apart = np.abs(np.log(theirs) - np.log(ours)) if log else gaps[name]
        gains[name] = np.maximum(0.0, 1.0 - apart / scale)
    both = {name: np.isfinite(gap) for name, gap in gaps.items()}
    total = sum(w * np.nan_to_num(gains[name]) for name, w in weights.items())
    weight = sum(w * both[name] for name, w in weights.items())
    single = np.where(weight > 0, total / np.where(weight > 0, weight, 1), np.nan)
    single = np.where(nodule, single, 0.0)
    tops = [order[:K] for order in orders(distances)]
    discount = 1 / np.log2(np.arange(2, K + 2))

    def mean(values):
        """Expected sum of the known values over their expected number."""
        known = np.isfinite(values)
        number = np.mean([known[top].sum() for top in tops])
        if not number:
            return np.nan
        return np.mean([np.nansum(values[top]) for top in tops]) / number

    out = {}
    for name in weights:
        gain = np.nan_to_num(gains[name])
        ideal = (np.sort(gain)[::-1][:K] * discount).sum()
        found = np.mean([(gain[top] * discount[: len(top)]).sum() for top in tops])
        out[f"difference_{name}"] = mean(gaps[name])
        out[f"ndcg_{name}"] = found / ideal if ideal else np.nan
    known = any(np.isfinite(queries.properties[n][q]) for n in weights if weights[n])
    out["similarity"] = mean(single) if known else np.nan
    return out


@pytest.mark.parametrize("seed", [1, 6, 9])
def test_scores_are_those_of_all_orders_of_ties(seed):
    queries, gallery = side(seed, 6, "q"), side(seed + 10, 6, "g")
    found = protocol.evaluate(queries, gallery, SETTINGS)
    hamming = (queries.bits[:, None] != gallery.bits).sum(-1)
    fine = np.abs(queries.features["fc1"] - gallery.features["fc1"].T)
    distances = {
        "hamming": hamming,
        "fc1": fine,
        "two_stage": np.where(hamming < 2, fine, 10 + hamming),
        "chance": np.zeros_like(hamming),
    }
    for ranking, q in itertools.product(distances, range(len(queries))):
        got = found.per_query[ranking]
        if queries.labels[q] == 0:
            values = [v[q] for n, v in got.items() if n.startswith("difference_")]
            assert np.isnan([*values, got["similarity"][q]]).all()
            continue
        for name, value in expected(distances[ranking][q], queries, gallery, q).items():
            assert got[name][q] == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name


def test_a_random_order_of_the_class_is_that_of_its_items_alone():
    queries, gallery = side(3, 6, "q"), side(13, 7, "g")
    gallery = dataclasses.replace(gallery, scans=np.array(["q0", "q1", *gallery.scans[2:]]))
    chance = protocol.evaluate(queries, gallery, SETTINGS).per_query["chance"]
    counted = 0
    for q in np.flatnonzero(queries.labels > 0):
        rows = (gallery.labels == queries.labels[q]) & (gallery.scans != queries.scans[q])
        for name in ("margin", "diameter_mm"):
            gaps = np.abs(gallery.properties[name][rows] - queries.properties[name][q])
            want = np.nanmean(gaps) if np.isfinite(gaps).any() else np.nan
            got = chance[f"class_difference_{name}"][q]
            assert got == pytest.approx(want, nan_ok=True)
            counted += math.isfinite(got)
    assert counted == 4


def test_the_order_of_the_gallery_changes_no_digit():
    rng = np.random.default_rng(0)
    queries, gallery = side(4, 20, "q"), side(14, 50, "g")
    for one in (queries, gallery):  # numbers with many digits, in which rounding would show
        one.properties["margin"][:] *= 1.0 + 0.1 * rng.random(len(one))
    again = gallery.take(rng.permutation(50))
    one, two = (protocol.evaluate(queries, g, SETTINGS) for g in (gallery, again))
    assert one.counts == two.counts
    for name, columns in one.per_query.items():
        for column, values in columns.items():
            np.testing.assert_array_equal(values, two.per_query[name][column])


def test_a_weight_of_zero_leaves_a_property_out_of_similarity_alone():
    queries, gallery = side(5, 12, "q"), side(15, 30, "g")
    weights = {"margin": 0.0, "custom": 0.0, "subtlety": 0.0}
    found = protocol.evaluate(
        queries, gallery, dataclasses.replace(SETTINGS, weights=weights)
    ).per_query["hamming"]
    only = {"diameter_mm": queries.properties["diameter_mm"]}
    alone = protocol.evaluate(
        dataclasses.replace(queries, properties=only), gallery, SETTINGS
    ).per_query["hamming"]
    np.testing.assert_array_equal(found["similarity"], alone["similarity"])
    assert np.isfinite(found["difference_margin"]).any()
    assert "difference_margin" not in alone
    nothing = dict.fromkeys(queries.properties, 0.0)
    none = protocol.evaluate(queries, gallery, dataclasses.replace(SETTINGS, weights=nothing))
    assert none.rankings["hamming"]["similarity_at_3"] is None


def test_scales_can_be_given_and_are_reported():
    queries, gallery = side(6, 12, "q"), side(16, 30, "g")
    wide = dataclasses.replace(SETTINGS, scales=dict.fromkeys(queries.properties, 1e6))
    found = protocol.evaluate(queries, gallery, wide)
    assert found.counts["properties"]["margin"] == {"scale": 1e6, "weight": 2.0}
    one = found.per_query["chance"]
    share = (gallery.labels > 0).mean()  # every nodule is similar, no normal item is
    known = np.isfinite(one["similarity"])
    np.testing.assert_allclose(one["ndcg_diameter_mm"][queries.labels > 0], share, atol=1e-4)
    assert known.any()
    standard = protocol.evaluate(queries, gallery, SETTINGS).counts["properties"]
    sizes = gallery.properties["diameter_mm"]
    assert standard["diameter_mm"]["scale"] == pytest.approx(np.log(sizes[sizes > 0]).std())


def test_properties_without_a_difference_or_known_of_one_side_are_left_out():
    queries, gallery = side(7, 8, "q"), side(17, 20, "g")
    gallery.properties["margin"][:] = 3.0
    gallery.properties["custom"][:] = np.nan
    for one in (queries, gallery):  # its nDCG would have the name of another metric
        one.properties["mm"] = one.properties["subtlety"]
    found = protocol.evaluate(queries, gallery, SETTINGS)
    assert list(found.counts["properties"]) == ["diameter_mm", "subtlety"]
    bare = dataclasses.replace(queries, properties=None)
    found = protocol.evaluate(bare, gallery, SETTINGS)
    assert found.counts["properties"] == {}
    assert found.rankings["two_stage"]["similarity_at_3"] is None


def test_large_and_small_values_do_not_overflow():
    queries, gallery = side(8, 8, "q"), side(18, 20, "g")
    plain = protocol.evaluate(queries, gallery, SETTINGS).per_query["fc1"]
    for factor in (1e-12, 1e12):
        scaled = [
            dataclasses.replace(
                one, properties={**one.properties, "margin": factor * one.properties["margin"]}
            )
            for one in (queries, gallery)
        ]
        found = protocol.evaluate(*scaled, SETTINGS).per_query["fc1"]
        np.testing.assert_allclose(
            found["difference_margin"], factor * plain["difference_margin"], rtol=1e-6
        )
        np.testing.assert_allclose(found["similarity"], plain["similarity"], rtol=1e-6)


def test_whole_nodules_have_the_scores_of_their_mean_distances():
    queries, gallery = side(9, 8, "q"), side(19, 12, "g")
    for one in (queries, gallery):  # the slices of a nodule share class and properties
        for values in (one.labels, *one.properties.values()):
            values[1::2] = values[::2]
        one.diameters_mm[:] = np.where(one.labels > 0, 4.0, 0.0)
    found = nodules.evaluate(queries, gallery, SETTINGS)
    distances = np.array(
        [
            [
                (queries.bits[a : a + 2, None] != gallery.bits[b : b + 2]).sum(-1).mean()
                for b in range(0, 12, 2)
            ]
            for a in range(0, 8, 2)
        ]
    )
    heads, archive = (one.take(np.arange(0, len(one), 2)) for one in (queries, gallery))
    places = [int(row) // 2 for row in found.first]
    for at, q in enumerate(places):
        if heads.labels[q] == 0:
            continue
        for name, value in expected(distances[q], heads, archive, q).items():
            got = found.per_query["hamming"][name][at]
            assert got == pytest.approx(value, rel=1e-9, abs=1e-9, nan_ok=True), name
    assert "class_similarity" in found.per_query["chance"]
