"""The location of places in the lungs, compared with shapes whose distances are known."""

import numpy as np
import pytest

from inres.data import location

SHAPE = (100, 90, 150)
LUNGS = (((50, 45, 38), (42, 35, 27)), ((52, 45, 112), (38, 33, 24)))
"""Centres and half axes z, y, x in voxels: the right lung, at lower x, and the left."""


def ellipsoid(center, axes, shape=SHAPE):
    index = np.moveaxis(np.indices(shape, np.float32), 0, -1)
    return (((index - center) / axes) ** 2).sum(-1) <= 1


def surface(center, axes, count=200_000):
    """Points [count, 3] all over an ellipsoid."""
    way = np.random.default_rng(0).normal(size=(count, 3))
    return center + np.array(axes) * way / np.linalg.norm(way, axis=1, keepdims=True)


def lungs():
    return ellipsoid(*LUNGS[0]) | ellipsoid(*LUNGS[1])


def places(count=40):
    """Places in both lungs, and which they are in."""
    rng = np.random.default_rng(1)
    way = rng.normal(size=(count, 3))
    way *= rng.random((count, 1)) ** (1 / 3) / np.linalg.norm(way, axis=1, keepdims=True)
    own = rng.integers(0, 2, count)
    return np.array(
        [LUNGS[n][0] + np.array(LUNGS[n][1]) * w for n, w in zip(own, way, strict=True)]
    ), own


@pytest.mark.parametrize("spacing", [0.8, 1.0, 2.0])
def test_places_in_two_ellipsoids(spacing):
    points, own = places()
    found = location.locate(lungs(), points, spacing)
    side, height, depth = found.T
    np.testing.assert_array_equal(side, np.where(own == 0, -1, 1))
    np.testing.assert_allclose(height, (points[:, 0] - 8) / 84, atol=0.01)
    skins = [surface(*lung) for lung in LUNGS]
    want = [np.linalg.norm(skins[n] - p, axis=1).min() for n, p in zip(own, points, strict=True)]
    np.testing.assert_allclose(depth, np.array(want) * spacing, atol=0.8 * spacing)
    assert abs((depth / spacing - want).mean()) < 0.3


def test_the_mirrored_volume_has_the_other_side():
    points, _ = places()
    mask = lungs()
    found = location.locate(mask, points, 1.0)
    turned = points * (1, 1, -1) + (0, 0, SHAPE[2] - 1)
    np.testing.assert_allclose(
        location.locate(mask[:, :, ::-1], turned, 1.0), found * (-1, 1, 1), atol=1e-9
    )
    upside_down = points * (-1, 1, 1) + (SHAPE[0] - 1, 0, 0)
    np.testing.assert_allclose(
        location.locate(mask[::-1], upside_down, 1.0),
        found * (1, -1, 1) + (0, 1, 0),
        atol=1e-9,
    )


def test_lungs_that_touch_are_told_apart():
    """The right lung reaches beyond the middle of the image, and a bridge joins the two."""
    mask = ellipsoid((50, 45, 50), (42, 35, 42)) | ellipsoid((52, 45, 118), (38, 33, 24))
    mask[44:56, 14:30, 40:118] = True
    points = [(50, 45, 85), (50, 45, 50), (50, 20, 55), (52, 45, 98), (52, 45, 118), (52, 20, 112)]
    side = location.locate(mask, np.array(points), 1.0)[:, 0]
    assert side.tolist() == [-1, -1, -1, 1, 1, 1]


def test_a_place_between_the_lungs_belongs_to_the_nearer_one():
    points = np.array([(50, 45, 70), (50, 45, 82), (50, 45, -9), (50, 45, 300)])
    found = location.locate(lungs(), points, 1.0)
    assert found[:, 0].tolist() == [-1, 1, -1, 1]
    assert found[:, 2].tolist() == [0, 0, 0, 0]


def test_cavities_are_not_outside_but_channels_are():
    whole, mask = lungs(), lungs()
    hole = np.array([(50, 45, 38), (50, 45, 46)])
    mask[47:54, 42:49, 35:42] = False
    closed = location.locate(mask, hole, 1.0)
    np.testing.assert_array_equal(closed, location.locate(whole, hole, 1.0))
    mask[50, 45, :38] = False
    opened = location.locate(mask, hole, 1.0)
    assert opened[:, 2].tolist() == [0, 5], "the hole's last voxel is at x = 41"


def test_the_ends_of_a_scan_are_no_pleura():
    points = np.array([(40.0, 45, 38), (41, 45, 112)])
    part = location.locate(lungs()[35:60], points - (35, 0, 0), 1.0)
    np.testing.assert_array_equal(part[:, 0], [-1, 1])
    np.testing.assert_allclose(part[:, 1], [5.5 / 25, 6.5 / 25], err_msg="of what is there")
    assert np.all(part[:, 2] > 20)


def test_what_the_mask_does_not_show_is_unknown():
    points, _ = places(3)
    for mask in (np.ones(SHAPE, bool), np.zeros(SHAPE, bool)):
        assert np.isnan(location.locate(mask, points, 1.0)).all()
    assert location.locate(lungs(), np.zeros((0, 3)), 1.0).shape == (0, 3)
    alone = location.locate(ellipsoid(*LUNGS[0]), np.array([LUNGS[0][0]]), 1.0)
    assert np.isnan(alone[0, 0])
    np.testing.assert_allclose(alone[0, 1:], (0.5, 27), atol=0.5)
