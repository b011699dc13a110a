"""What a network sees of an item."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.data import views
from inres.learning import sight
from inres.models.head import HashHead, mean_of_seen
from inres.models.networks.inres_net import InResNet

pytestmark = pytest.mark.usefixtures("quick_programs")


def stacks(n=6, planes=5, side=4):
    rng = np.random.default_rng(0)
    values = rng.integers(1, 256, (n, side, side, planes)).astype(np.uint8)
    known = rng.random((n, planes)) < 0.6
    known[:, planes // 2] = True
    return values, known, views.with_known(values, known[:, None, None])


def test_each_plane_is_an_image_and_unknown_ones_are_marked():
    values, known, inputs = stacks()
    planes, seen = sight.split(sight.to_input(inputs), "each")
    np.testing.assert_array_equal(seen, known)
    np.testing.assert_allclose(
        planes, np.where(known[:, None, None], values, 0).transpose(0, 3, 1, 2) / 255, rtol=1e-6
    )
    shown = sight.flatten(planes, seen)
    assert shown.shape == (30, 4, 4, 1)
    np.testing.assert_array_equal(shown[7, ..., 0], planes[1, 2])
    assert sight.split(jnp.zeros((2, 4, 4, 1)), "each")[1] is None
    assert sight.split(sight.to_input(inputs), "channels")[1] is None


def test_planes_are_drawn_from_the_known_ones_in_every_number():
    _, known, inputs = stacks(n=40)
    planes, seen = sight.split(sight.to_input(inputs), "each")
    counts, used = np.zeros(4, int), np.zeros((40, 5), bool)
    for n in range(60):
        drawn, kept = map(np.asarray, sight.draw(jax.random.key(n), planes, seen, 3))
        assert drawn.shape == (40, 3, 4, 4)
        for item in range(40):
            shown = {plane.tobytes() for plane in drawn[item][kept[item]]}
            sources = {np.asarray(planes[item, at]).tobytes(): at for at in range(5)}
            rows = [sources[plane] for plane in shown]
            assert len(rows) == kept[item].sum() > 0
            assert known[item][rows].all()
            used[item, rows] = True
            counts[len(rows)] += 1
    np.testing.assert_array_equal(used, known)
    assert counts[1:].min() > 0.15 * counts.sum()


def test_the_mean_over_planes_leaves_out_unknown_ones_and_hides_their_number():
    rng = np.random.default_rng(1)
    features, seen = (
        rng.normal(size=(4, 3, 7)),
        np.array([[1, 1, 1], [0, 1, 1], [1, 0, 0], [0] * 3]),
    )
    found = np.asarray(mean_of_seen(jnp.asarray(features, jnp.float32), jnp.asarray(seen > 0)))
    for row in range(3):
        want = features[row][seen[row] > 0].mean(axis=0)
        np.testing.assert_allclose(found[row], want, rtol=1e-5, atol=1e-6)
    assert not found[3].any()


def test_a_stack_of_equal_planes_is_one_plane_to_the_network():
    """So the number of slices of a nodule, which grows with its size, cannot be seen."""
    model = InResNet(HashHead(3, 8, 8, properties=2), stem=8)
    plane = jax.random.uniform(jax.random.key(0), (1, 1, 16, 16))
    planes, seen = jnp.repeat(plane, 4, axis=1), jnp.array([[True, True, True, False]])
    variables = model.init(jax.random.key(1), sight.flatten(planes, seen), seen)
    several = model.apply(variables, sight.flatten(planes.at[0, 3].set(9.0), seen), seen)
    one = model.apply(variables, plane.reshape(1, 16, 16, 1), jnp.ones((1, 1), bool))
    alone = model.apply(variables, plane.reshape(1, 16, 16, 1))
    for name in ("fc1", "u", "h", "fc3", "properties"):
        assert getattr(several, name).shape[0] == 1
        for other in (one, alone):
            np.testing.assert_allclose(
                getattr(several, name), getattr(other, name), rtol=1e-4, atol=1e-5
            )
