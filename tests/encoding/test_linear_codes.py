"""Linear codes and principal components against closed forms and scikit-learn."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from inres.encoding import linear_codes, pca
from inres.evaluation.code_statistics import code_statistics


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
        linear_codes.itq(vectors, bits=6, seed=0, rounds=rounds) for rounds in (0, 1, 50)
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
    code = linear_codes.itq(np.repeat(corners @ turn, 5, axis=0), bits=3, seed=0)
    codes = code.encode(corners @ turn)
    assert len(np.unique(codes, axis=0)) == 8
    distance = (codes[:, None] != codes).sum(axis=2)
    np.testing.assert_array_equal(distance, (corners[:, None] != corners).sum(axis=2))


def test_lsh_bits_part_by_the_angle(vectors):
    """The chance that a random plane parts two vectors is their angle / pi (Charikar 2002)."""
    code = linear_codes.lsh(vectors, bits=20_000, seed=0)
    centred = vectors - vectors.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    angle = np.arccos(np.clip(unit[0] @ unit[1:6].T, -1, 1))
    bits = code.encode(vectors)
    parted = (bits[0] != bits[1:6]).mean(axis=1)
    np.testing.assert_allclose(parted, angle / np.pi, atol=0.015)


@pytest.mark.parametrize("fit", [linear_codes.itq, linear_codes.lsh])
def test_codes_do_not_depend_on_the_order_and_repeat(vectors, fit, monkeypatch):
    monkeypatch.setattr(linear_codes, "SAMPLE", 40)
    shuffled = vectors[np.random.default_rng(2).permutation(len(vectors))]
    one, two, other = (
        fit(v, bits=5, seed=s) for v, s in ((vectors, 0), (shuffled, 0), (vectors, 1))
    )
    np.testing.assert_array_equal(one.planes, two.planes)
    np.testing.assert_array_equal(one.mean, two.mean)
    assert (one.planes != other.planes).any()


def test_vectors_that_are_all_the_same_have_one_code():
    """As FC1 of a network whose units have all died."""
    code = linear_codes.itq(np.zeros((5, 4), np.float32), bits=3, seed=0)
    bits = code.encode(np.zeros((7, 4), np.float32))
    assert bits.shape == (7, 1)
    assert code_statistics(bits)["distinct_codes"] == 1


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_a_full_code_has_all_its_bits_whatever_is_spanned(rows):
    """Fewer vectors than dimensions, or layers of which several units say the same."""
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.random((rows, 4)), 4, axis=1)
    code = linear_codes.itq(vectors, bits=16, seed=0, full=True)
    assert code.planes.shape == (16, 16)
    # What is spanned is turned whole: distances from plane to plane are those of the vectors.
    projected, centred = (vectors - code.mean) @ code.planes, vectors - vectors.mean(axis=0)
    np.testing.assert_allclose(projected @ projected.T, centred @ centred.T, atol=1e-9)
    assert code.encode(vectors).shape == (rows, 16)


def test_turned_bits_say_more_than_thresholds_that_agree():
    """Units that all say one thing have two codes; turned, they keep the order along it."""
    x = np.sort(np.random.default_rng(0).normal(size=400))
    h = 1 / (1 + np.exp(-4 * x[:, None] * np.ones(12)))
    h += 0.05 * np.random.default_rng(1).normal(size=h.shape)
    code = linear_codes.itq(h, bits=12, seed=0, full=True).encode(h)
    distance = (code[:, None] != code).sum(axis=2)
    assert len(np.unique(h.round().clip(0, 1) > 0.5, axis=0)) < len(np.unique(code, axis=0))
    assert distance[0, -1] == distance.max()
