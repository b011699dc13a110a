"""Baseline codes and features against closed forms, scikit-learn and their own definitions."""

import numpy as np
import pytest
from skimage.feature import hog as reference_hog
from sklearn.decomposition import PCA

from inres.evaluation import baselines, pca


@pytest.fixture(scope="module")
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 12)) * np.linspace(3, 0.5, 12) + 100


@pytest.mark.parametrize("shape", [(60, 12), (9, 12)])
def test_principal_components_equal_scikit_learn(vectors, shape):
    some = vectors[: shape[0]]
    mean, axes, shares = pca.principal(some, 4)
    expected = PCA(4, svd_solver="full").fit(some)
    np.testing.assert_allclose(mean, expected.mean_)
    np.testing.assert_allclose(shares, expected.explained_variance_ratio_, rtol=1e-8)
    signs = np.sign((axes.T * expected.components_).sum(axis=1))
    np.testing.assert_allclose(axes.T * signs[:, None], expected.components_, atol=1e-7)


def test_no_more_components_than_there_are():
    rng = np.random.default_rng(1)
    _, axes, shares = pca.principal(rng.normal(size=(4, 30)), 10)
    assert axes.shape == (30, 3)
    assert shares.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)


def quantization_error(vectors, code):
    projected = (vectors - code.mean) @ code.planes
    return ((projected - np.where(projected >= 0, 1, -1)) ** 2).sum()


def test_itq_rotates_the_components_and_lowers_the_error(vectors):
    _, axes, _ = pca.principal(vectors, 6)
    none, some, more = (
        baselines.itq(vectors, bits=6, seed=0, rounds=rounds) for rounds in (0, 1, 50)
    )
    np.testing.assert_allclose(more.planes.T @ more.planes, np.eye(6), atol=1e-9)  # a rotation
    np.testing.assert_allclose(axes @ axes.T @ more.planes, more.planes, atol=1e-9)  # of the PCA
    errors = [quantization_error(vectors, code) for code in (none, some, more)]
    assert errors[0] > errors[1] > errors[2]
    assert more.encode(vectors).shape == (60, 6)


def test_itq_finds_the_rotation_of_a_cube():
    """Corners of a cube, turned: only the right rotation has its signs without an error."""
    rng = np.random.default_rng(3)
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    code = baselines.itq(np.repeat(corners @ turn, 5, axis=0), bits=3, seed=0)
    codes = code.encode(corners @ turn)
    assert len(np.unique(codes, axis=0)) == 8
    distance = (codes[:, None] != codes).sum(axis=2)
    np.testing.assert_array_equal(distance, (corners[:, None] != corners).sum(axis=2))


def test_lsh_bits_part_by_the_angle(vectors):
    """The chance that a random plane parts two vectors is their angle / pi (Charikar 2002)."""
    code = baselines.lsh(vectors, bits=20_000, seed=0)
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    angle = np.arccos(np.clip(unit[0] @ unit[1:6].T, -1, 1))
    bits = code.encode(vectors)
    parted = (bits[0] != bits[1:6]).mean(axis=1)
    np.testing.assert_allclose(parted, angle / np.pi, atol=0.015)


@pytest.mark.parametrize("fit", [baselines.itq, baselines.lsh])
def test_codes_do_not_depend_on_the_order_and_repeat(vectors, fit, monkeypatch):
    monkeypatch.setattr(baselines, "SAMPLE", 40)
    shuffled = vectors[np.random.default_rng(2).permutation(len(vectors))]
    one, two, other = (
        fit(v, bits=5, seed=s) for v, s in ((vectors, 0), (shuffled, 0), (vectors, 1))
    )
    np.testing.assert_array_equal(one.planes, two.planes)
    np.testing.assert_array_equal(one.mean, two.mean)
    assert (one.planes != other.planes).any()


def test_hog_is_that_of_scikit_image_in_8_bits_and_ranks_turned_edges_apart():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 32, 32)).astype(np.uint8)
    expected = reference_hog(images[1], pixels_per_cell=(8, 8), cells_per_block=(2, 2))
    found = baselines.hog(images)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found[1] / 255, expected, atol=0.5 / 255 + 1e-9)
    stripes = np.tile(np.uint8([0, 0, 255, 255]), (32, 8))
    upright, brighter, flat = baselines.hog(np.stack([stripes, stripes // 2, stripes.T])).astype(
        int
    )
    assert np.abs(upright - brighter).max() <= 3  # contrast is divided out
    assert np.abs(upright - flat).max() > 30
    assert baselines.hog(np.zeros((2, 10, 10), np.uint8)).shape == (2, 36)
