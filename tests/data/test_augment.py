import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.config import Train
from inres.data import augment as module
from inres.data.augment import drop_neighbours

pytestmark = pytest.mark.usefixtures("quick_programs")


STILL = dict(flips=False, quarter_turns=False, shift_px=0)


def augment(key, x, config):
    return jax.jit(lambda k, v: module.augment(k, v, config))(key, x)


def images(b=256, s=8):
    return jax.random.uniform(jax.random.key(5), (b, s, s, 1), minval=0.2, maxval=0.8)


def test_without_augmentation_images_do_not_change():
    np.testing.assert_array_equal(augment(jax.random.key(0), images(), Train(**STILL)), images())


def test_flips_and_turns_give_all_eight_symmetries_and_nothing_else():
    image = np.arange(1, 10, dtype=np.float32).reshape(3, 3) / 10
    want = {
        (image.T if t else image)[:: (-1 if v else 1), :: (-1 if h else 1)].tobytes()
        for t, v, h in itertools.product((0, 1), repeat=3)
    }
    config = Train(**{**STILL, "flips": True, "quarter_turns": True})
    out = augment(jax.random.key(0), jnp.repeat(image[None, ..., None], 256, 0), config)
    assert {np.asarray(x).tobytes() for x in out} == want
    turned = augment(
        jax.random.key(0),
        jnp.repeat(image[None, ..., None], 256, 0),
        Train(**{**STILL, "quarter_turns": True}),
    )
    assert {np.asarray(x).tobytes() for x in turned} == {
        np.rot90(image, k).tobytes() for k in range(4)
    }


def test_shifts_reach_as_far_as_configured_and_fill_in_zeros():
    x = jnp.zeros((512, 9, 9, 1)).at[:, 4, 4].set(0.5)
    out = np.asarray(augment(jax.random.key(1), x, Train(**{**STILL, "shift_px": 2})))
    assert {tuple(np.argwhere(i[..., 0])[0] - 4) for i in out} == set(
        itertools.product(range(-2, 3), repeat=2)
    )


def test_the_same_key_gives_the_same_images():
    images_of = [augment(jax.random.key(n), images(8), Train()) for n in (2, 2, 3)]
    np.testing.assert_array_equal(*images_of[:2])
    assert (np.asarray(images_of[2]) != images_of[0]).any()


def test_neighbouring_slices_move_together():
    x = images()
    config = Train(**{**STILL, "flips": True, "quarter_turns": True, "shift_px": 2})
    alone = augment(jax.random.key(3), x, config)
    beside = augment(jax.random.key(3), jnp.concatenate([x, x / 2, x / 4], axis=-1), config)
    for channel, share in enumerate((1, 2, 4)):
        np.testing.assert_array_equal(beside[..., channel], alone[..., 0] / share)


def test_neighbours_are_dropped_in_the_given_share_of_images():
    x = jax.random.uniform(jax.random.key(5), (4000, 2, 2, 10), minval=0.1)
    out = np.asarray(jax.jit(drop_neighbours, static_argnums=2)(jax.random.key(0), x, 0.25))
    kept = (out == x).all(axis=(1, 2, 3))
    middle = np.isin(np.arange(10), (2, 7))
    dropped = (out == np.where(middle, x, 0.0)).all(axis=(1, 2, 3))
    assert np.all(kept ^ dropped)
    assert abs(dropped.mean() - 0.25) < 4 * np.sqrt(0.25 * 0.75 / len(x))
