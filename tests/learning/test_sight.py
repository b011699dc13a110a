"""What a network sees of an item."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.data import views
from inres.learning import sight
from inres.learning.view_error import view_error
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
        planes[..., 0],
        np.where(known[:, None, None], values, 0).transpose(0, 3, 1, 2) / 255,
        rtol=1e-6,
    )
    shown = sight.flatten(planes, seen)
    assert shown.shape == (30, 4, 4, 1)
    np.testing.assert_array_equal(shown[7], planes[1, 2])
    assert sight.split(jnp.zeros((2, 4, 4, 1)), "each")[1] is None
    assert sight.split(sight.to_input(inputs), "channels")[1] is None


def test_planes_are_drawn_from_the_known_ones_in_every_number():
    _, known, inputs = stacks(n=40)
    planes, seen = sight.split(sight.to_input(inputs), "each")
    counts, used = np.zeros(4, int), np.zeros((40, 5), bool)
    draw = jax.jit(sight.draw, static_argnums=3)
    for n in range(60):
        drawn, kept, which = map(np.asarray, draw(jax.random.key(n), planes, seen, 3))
        assert drawn.shape == (40, 3, 4, 4, 1)
        rows_of = np.arange(40)[:, None]
        np.testing.assert_array_equal(drawn, np.asarray(planes)[rows_of, which])
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
    model = InResNet(HashHead(3, 8, 8, properties=2), stem=8, compression="plain", residual="plain")
    plane = jax.random.uniform(jax.random.key(0), (1, 1, 16, 16))
    planes, seen = jnp.repeat(plane, 4, axis=1)[..., None], jnp.array([[True, True, True, False]])
    variables = jax.jit(model.init)(jax.random.key(1), sight.flatten(planes, seen), seen)
    apply = jax.jit(model.apply)
    several = apply(variables, sight.flatten(planes.at[0, 3].set(9.0), seen), seen)
    one = apply(variables, plane.reshape(1, 16, 16, 1), jnp.ones((1, 1), bool))
    alone = apply(variables, plane.reshape(1, 16, 16, 1))
    for name in ("fc1", "u", "h", "fc3", "properties"):
        assert getattr(several, name).shape[0] == 1
        for other in (one, alone):
            np.testing.assert_allclose(
                getattr(several, name), getattr(other, name), rtol=1e-4, atol=1e-5
            )


def cubes(n=4, side=9, seed=0):
    """Random cubes as network inputs, of which only some planes along z are known."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 256, (n, side, side, side)).astype(np.uint8)
    known = np.abs(np.arange(side) - side // 2) <= np.arange(n)[:, None]
    return values, known, views.with_known(values, known[:, None, None])


def test_the_views_of_a_cube_are_its_planes_with_what_is_known():
    """The three planes parallel to the faces, by indexing; of a slice alone, two are lines."""
    values, known, inputs = cubes()
    planes, seen = sight.split(sight.to_input(inputs), "three")
    shown = np.where(known[:, None, None], values, 0) / 255
    want = (shown[..., 4], shown[:, 4].swapaxes(1, 2), shown[:, :, 4].swapaxes(1, 2))
    assert planes.shape == (4, 3, 9, 9, 2)
    np.testing.assert_allclose(planes[..., 0], np.stack(want, axis=1), atol=1e-6)
    lines = np.broadcast_to(known[:, None, :, None], (4, 2, 9, 9))
    np.testing.assert_array_equal(planes[:, 1:, ..., 1], lines)
    np.testing.assert_array_equal(planes[:, 0, ..., 1], 1)
    assert np.asarray(seen).all()
    assert sight.split(sight.to_input(inputs), "nine")[0].shape == (4, 9, 9, 9, 2)
    nothing = inputs.copy()
    nothing[..., [4, 13]] = 0
    assert np.asarray(sight.split(sight.to_input(nothing[:1]), "three")[1]).tolist() == [
        [False] * 3
    ]


def test_a_view_is_predicted_from_each_plane_before_their_mean():
    """Parameters by hand: (F + 1) x views more. A plane changes no prediction but its own."""
    plain, head = (HashHead(3, 8, 5, views=n) for n in (0, 9))
    maps = np.random.default_rng(0).normal(size=(6, 2, 2, 4)).astype(np.float32)
    seen = jnp.array([[True, True, False], [True, False, False]])
    made = [h.init(jax.random.key(0), maps, seen, train=False) for h in (plain, head)]
    counts = [sum(x.size for x in jax.tree.leaves(m["params"])) for m in made]
    assert counts[1] - counts[0] == (5 + 1) * 9
    found = head.apply(made[1], maps, seen, train=False)
    params = made[1]["params"]
    fc1 = np.maximum(maps.mean((1, 2)) @ params["fc1"]["kernel"] + params["fc1"]["bias"], 0)
    want = fc1 @ params["views"]["kernel"] + params["views"]["bias"]
    np.testing.assert_allclose(found.views, want.reshape(2, 3, 9), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.fc1[0], fc1[:2].mean(axis=0), rtol=1e-4, atol=1e-5)
    assert plain.apply(made[0], maps, seen, train=False).views.shape == (2, 3, 0)
    assert head.apply(made[1], maps, train=False).views.shape == (6, 1, 9)


def test_the_loss_of_views_is_that_of_the_planes_that_are_seen():
    rng = np.random.default_rng(2)
    logits, which = rng.normal(size=(4, 3, 9)), rng.integers(0, 9, (4, 3))
    seen = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [0, 1, 0]]) > 0
    logs = np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
    want = -np.mean([logs[i, j, which[i, j]] for i, j in zip(*np.nonzero(seen), strict=True)])
    found = view_error(jnp.asarray(logits), jnp.asarray(which), jnp.asarray(seen))
    np.testing.assert_allclose(found, want, rtol=1e-5)
