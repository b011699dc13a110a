"""Ratings of phantom nodules agree with how they were drawn, and with their voxels."""

import numpy as np
import pytest
from scipy import ndimage, stats

from inres import vocabulary
from inres.phantoms import nodules
from inres.phantoms.drawing import Blob, Canvas, Tube
from inres.phantoms.ratings import NAMES, lobe_variation, rate

PLAIN = {
    "centre": np.zeros(3),
    "axes_mm": np.array([6.0, 5.0, 4.0]),
    "rotation": np.eye(3),
    "lobe_directions": np.zeros((0, 3)),
    "lobe_heights": np.zeros(0),
    "lobe_sharpness": 4.0,
    "hu": 30.0,
    "edge_mm": 1.0,
}


def test_ratings_of_a_solid_and_of_a_part_solid_nodule():
    solid = rate(Blob(**PLAIN), None, [], spicule_hu=20.0)
    assert solid == {
        "texture": 5,
        "spiculation": 1,
        "lobulation": 1,
        "margin": pytest.approx(1 + 4 * 446 / 650, abs=1e-3),  # 892 HU over 2 mm
        "sphericity": pytest.approx(1 + 4 * 4 / 6, abs=1e-3),
        "calcification": 6,
    }
    glass = Blob(**PLAIN | {"hu": -573.0})  # a tenth of the way from -640 to 30 HU
    core = Blob(**PLAIN | {"axes_mm": np.array([3.0, 2.0, 1.0])})  # 4 of 10 mm
    strands = [Tube(np.zeros(3), np.array([0.0, 0.0, 20.0]), 1.0, 0.3)] * 2  # 15 mm outside, each
    part = rate(glass, core, strands, spicule_hu=-416.0)  # half of the contrast of 30 HU
    assert part["texture"] == pytest.approx(1 + 4 * (0.4 + 0.6 * 0.1), abs=1e-3)
    assert part["spiculation"] == pytest.approx(1 + 4 * (0.5 * 30 / 5) / 25, abs=1e-3)
    chalk = rate(Blob(**PLAIN | {"hu": 350.0}), None, [], spicule_hu=20.0)
    assert (chalk["texture"], chalk["calcification"]) == (5, 4.5)


@pytest.mark.parametrize("lobes", [1, 2, 6])
def test_lobe_variation_is_that_over_random_directions(lobes):
    rng = np.random.default_rng(lobes)
    ways = rng.normal(size=(lobes, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    heights = rng.uniform(-0.05, 0.26, lobes)
    blob = Blob(**PLAIN | {"lobe_directions": ways, "lobe_heights": heights})
    sphere = rng.normal(size=(200_000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    surface = np.exp(4.0 * (sphere @ ways.T - 1)) @ heights
    assert lobe_variation(blob) == pytest.approx(surface.std(), rel=0.01)


@pytest.fixture(scope="module")
def drawn():
    """Ratings of 60 nodules of all kinds, and what is measured in their voxels."""
    side, size = 0.6, 45
    axis = ((np.arange(size) - size // 2) * side).astype(np.float32)
    z, y, x = np.ix_(axis, axis, axis)
    ratings, measured, margins = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        diameter = rng.uniform(8, 12)
        kind = ("solid", "part_solid", "ground_glass", "calcified", "solid")[seed % 5]
        margin = ("smooth", "lobulated", "spiculated")[seed % 3]
        canvas = Canvas(np.full((size,) * 3, -860, np.int16), axis, axis, axis, side, 0.8)
        finding = nodules.Finding(np.zeros(3), diameter, kind, margin, "isolated", 0.0)
        ratings.append(nodules.draw_nodule_at(canvas, finding, rng, blood_hu=40.0))
        hu = canvas.hu.astype(float)
        distance = np.sqrt(z * z + y * y + x * x) / (diameter / 2)
        slope = np.sqrt(sum(part**2 for part in np.gradient(hu, side)))
        body = ndimage.binary_opening(hu > -700, iterations=2)
        rim = body & ~ndimage.binary_erosion(body)
        measured.append(
            {
                "texture": np.minimum(hu[distance < 0.85], 50).mean(),
                "margin": np.quantile(slope[(distance > 0.8) & (distance < 1.3)], 0.9),
                "spiculation": ((hu > -780) & (distance > 1.35)).sum() / diameter,
                "lobulation": distance[rim].std(),
                "calcification": -max(100, np.median(hu[distance < 0.5])),
            }
        )
        margins.append(margin)
    return ratings, measured, np.array(margins)


@pytest.mark.parametrize(
    ("name", "least", "left_out"),
    [
        ("texture", 0.85, ""),
        ("margin", 0.85, ""),
        ("spiculation", 0.75, ""),
        ("lobulation", 0.7, "spiculated"),  # the feet of spicules are bumps as well
        ("calcification", 0.95, ""),
    ],
)
def test_ratings_increase_with_what_voxels_show(drawn, name, least, left_out):
    ratings, measured, margins = drawn
    pairs = [
        (rating[name], seen[name])
        for rating, seen, margin in zip(ratings, measured, margins, strict=True)
        if margin != left_out
    ]
    assert stats.spearmanr(*zip(*pairs, strict=True)).statistic > least


def test_ratings_are_on_the_scale_of_readers_and_spread_over_it(drawn):
    ratings, _, margins = drawn
    for name in NAMES:
        one = vocabulary.find_property(name)
        values = np.array([rating[name] for rating in ratings])
        assert one.low <= values.min() < values.max() <= one.high
        assert len(set(values)) > 10
    spicules, lobes = (np.array([r[n] for r in ratings]) for n in ("spiculation", "lobulation"))
    assert np.all((spicules > 1) == (margins == "spiculated"))
    assert lobes[margins == "lobulated"].min() > lobes[margins != "lobulated"].max()
