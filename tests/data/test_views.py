import itertools

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres.config import Items, Train
from inres.ct.image import to_uint8
from inres.data import views
from inres.data.augment import augment

pytestmark = pytest.mark.usefixtures("quick_programs")


def test_the_window_ends_at_its_ends():
    hu = np.array([-3000, -1200, -300, 600, 3071])
    assert to_uint8(hu, hu_min=-1200, hu_max=600).tolist() == [0, 0, 128, 255, 255]


@given(st.integers(1, 9), st.integers(-3, 12), st.integers(-3, 12))
def test_a_canvas_is_a_cut_of_the_padded_image(size, row, col):
    image = np.arange(1, 91, dtype=np.uint8).reshape(9, 10)
    pad = 20
    padded = np.pad(image, pad)
    top, left = row - size // 2 + pad, col - size // 2 + pad
    want = padded[top : top + size, left : left + size]
    np.testing.assert_array_equal(views.canvas(image, center=(row, col), size=size), want)


@pytest.mark.parametrize(("old", "new"), [(64, 32), (48, 64), (50, 64), (384, 224)])
def test_resizing_keeps_flat_images_and_a_linear_ramp(old, new):
    assert (views.resize(np.full((old, old), 77, np.uint8), new) == 77).all()
    ramp = np.repeat(np.linspace(0, 250, old)[None], old, 0)
    out = views.resize(np.rint(ramp).astype(np.uint8), new).astype(float)
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    inside = slice(new // 8, -new // 8)
    np.testing.assert_allclose(out[3, inside], (centres * 250 / (old - 1))[inside], atol=1.2)


def test_a_crop_shows_its_point_and_a_mask_its_lungs():
    slice_ = np.zeros((64, 64), np.uint8)
    slice_[40, 20] = 200
    mask = np.ones((64, 64), np.uint8)
    config = Items(canvas_mm=64.0, crop_mm=16, size_px=16)
    crop = views.view(slice_, mask, (40.0, 20.0), config)
    assert crop[8, 8] == 200
    mask[40, 20] = 0
    assert views.view(slice_, mask, (40.0, 20.0), config).max() == 0
    raw = Items(canvas_mm=64.0, crop_mm=16, size_px=16, segmented=False)
    assert views.view(slice_, mask, (40.0, 20.0), raw)[8, 8] == 200
    whole = Items(canvas_mm=64.0, crop_mm=16, size_px=64, view="slice")
    assert views.view(slice_, None, (40.0, 20.0), whole)[40, 20] == 200
    assert views.view(slice_, None, (np.nan, np.nan), config).shape == (16, 16)


def test_a_stack_is_the_view_of_each_of_its_slices():
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 256, (3, 40, 40)).astype(np.uint8)
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 8:30] = 1
    config = Items(canvas_mm=40.0, crop_mm=20.0, size_px=16)
    found = views.stack(planes, np.array([False, True, True]), mask, (18.0, 21.0), config)
    assert found.shape == (16, 16, 6)
    assert not found[..., 0].any()
    for i in (1, 2):
        np.testing.assert_array_equal(
            found[..., i], views.view(planes[i], mask, (18.0, 21.0), config)
        )
    np.testing.assert_array_equal(
        found[..., 3:], np.broadcast_to(np.array([0, 255, 255], np.uint8), (16, 16, 3))
    )
    one = views.stack(planes[:1], np.ones(1, bool), mask, (18.0, 21.0), config)
    assert one.shape == (16, 16, 1)


def test_without_neighbours_the_other_planes_are_unknown():
    values = np.arange(1, 1 + 2 * 3 * 3 * 5, dtype=np.uint8).reshape(2, 3, 3, 5)
    alone = views.alone(views.with_known(values, np.ones(5, bool)))
    np.testing.assert_array_equal(alone[..., 2], values[..., 2])
    assert (alone[..., 7] == 255).all()
    assert not np.delete(alone, (2, 7), axis=-1).any()
    np.testing.assert_array_equal(views.single(values[..., 2], 10), alone)
    np.testing.assert_array_equal(views.alone(values[..., :1]), values[..., :1])
    np.testing.assert_array_equal(views.single(values[..., 0], 1), values[..., :1])
    np.testing.assert_array_equal(views.own_slices(alone), values[..., 2])


def test_symmetries_are_the_eight_of_a_square_and_the_reversed_stack():
    """Compared with products of transposing, mirroring rows and columns, and reversing."""
    values = np.arange(2 * 3 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 3)
    known = np.random.default_rng(0).random((2, 3, 3, 3)) < 0.5
    inputs = views.with_known(values, known)
    step = {False: 1, True: -1}

    def changed(array, transposed, up, left, back):
        array = array.transpose(0, 2, 1, 3) if transposed else array
        return array[:, :: step[up], :: step[left], :: step[back]]

    want = {
        views.with_known(changed(values, *which), changed(known, *which)).tobytes()
        for which in itertools.product((False, True), repeat=4)
    }
    found = views.symmetries(6, flips=True, quarter_turns=True)
    assert len(found) == 16
    assert {v(inputs).tobytes() for v in found} == want
    np.testing.assert_array_equal(found[0](inputs), inputs)
    flat = inputs[..., :1]
    assert (
        len({v(flat).tobytes() for v in views.symmetries(1, flips=True, quarter_turns=True)}) == 8
    )


@pytest.mark.parametrize(("flips", "turns", "count"), [(0, 0, 1), (1, 0, 4), (0, 1, 4), (1, 1, 8)])
def test_the_views_are_those_of_the_augmentation(flips, turns, count):
    """For one plane, they are exactly the images that the augmentation produces."""
    image = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1) / 10
    recipe = Train(flips=bool(flips), quarter_turns=bool(turns), shift_px=0)
    shown = augment(jax.random.key(0), np.repeat(image, 256, 0), recipe)
    found = views.symmetries(1, flips=recipe.flips, quarter_turns=recipe.quarter_turns)
    assert len(found) == count
    assert {v(image).tobytes() for v in found} == {np.asarray(x).tobytes() for x in shown}
