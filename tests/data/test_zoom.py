"""Zoomed images, and the sizes they are labelled by."""

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from inres.data import zoom
from inres.data.items import size_class
from inres.vocabulary import CLASS_NAMES


def test_labels_follow_the_diameters():
    sizes = np.array([0.0, 4.0, 12.0, 22.0, np.nan])
    labels = np.array([0, 1, 4, 6, 3])
    found = zoom.zoom_items(labels, sizes, CLASS_NAMES, 1.25)
    assert len(found.place) == 4 * zoom.LEVELS + 1
    plain = found.factor == 1
    np.testing.assert_array_equal(found.place[plain], np.arange(5))
    np.testing.assert_array_equal(found.labels[plain], labels)
    np.testing.assert_allclose(found.diameters_mm, sizes[found.place] * found.factor, rtol=1e-6)
    known = np.isfinite(found.diameters_mm)
    np.testing.assert_array_equal(found.labels[known], size_class(found.diameters_mm[known]))
    assert 7 in found.labels  # no item of this class was given
    assert set(found.labels[found.place == 0]) == {0}
    assert (found.factor.min(), found.factor.max()) == (np.float32(0.8), np.float32(1.25))


def test_zooming_does_not_tell_nodules():
    """Where few sizes are known, few items without a nodule are zoomed."""
    rng = np.random.default_rng(0)
    sizes = np.where(rng.random(1000) < 0.4, 0.0, rng.uniform(3, 30, 1000))
    labels = size_class(sizes)
    for share in (0.0, 0.3, 1.0):
        unknown = (sizes > 0) & (rng.random(1000) >= share)
        given = np.where(unknown, np.nan, sizes)
        found = zoom.zoom_items(labels, given, CLASS_NAMES, 1.25)
        normal, away = sizes[found.place] == 0, found.factor != 1
        counts = [np.count_nonzero(away & which) / which.sum() for which in (normal, ~normal)]
        assert abs(counts[0] - counts[1]) < 0.01
        assert (away.any(), len(found.place) > 1000) == (share > 0, share > 0)
        if share == 1:
            assert len(found.place) == zoom.LEVELS * 1000
        two = zoom.zoom_items((sizes > 0).astype(int), given, ("no nodule", "nodule"), 1.25)
        np.testing.assert_array_equal(two.place, found.place)
        np.testing.assert_array_equal(two.labels, sizes[two.place] > 0)
        np.testing.assert_allclose(two.diameters_mm, given[two.place] * two.factor, rtol=1e-6)


def test_other_labels_do_not_change():
    found = zoom.zoom_items(np.array([1, 2]), np.array([4.0, 22.0]), ("no nodule", "a", "b"), 1.25)
    np.testing.assert_array_equal(found.labels, found.place + 1)
    none = zoom.zoom_items(np.array([1, 2]), np.array([4.0, 22.0]), CLASS_NAMES, 1.0)
    np.testing.assert_array_equal(none.place, [0, 1])


def test_zoomed_images_are_those_of_scipy():
    images = np.random.default_rng(0).random((3, 16, 16, 2)).astype(np.float32)
    factors = np.array([0.8, 1.0, 1.25], np.float32)
    made = np.asarray(zoom.zoom(jnp.asarray(images), jnp.asarray(factors)))
    for image, factor, got in zip(images, factors, made, strict=True):
        middle = 7.5
        expected = [
            ndimage.affine_transform(
                image[..., c],
                np.eye(2) / factor,
                offset=middle - middle / factor,
                order=1,
                mode="mirror",
            )
            for c in range(2)
        ]
        np.testing.assert_allclose(got, np.stack(expected, axis=-1), atol=1e-5)
    np.testing.assert_array_equal(made[1], images[1])
