import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from inres.retrieval import codes

BITS = st.integers(1, 300)


@hypothesis.settings(max_examples=60, deadline=None)
@hypothesis.given(st.data(), BITS)
def test_unpack_inverts_pack(data, h):
    bits = data.draw(hnp.arrays(bool, (data.draw(st.integers(0, 5)), h)))
    packed = codes.pack(bits)
    assert packed.dtype == np.uint32
    assert packed.shape == (len(bits), -(-h // 32))
    np.testing.assert_array_equal(codes.unpack(packed, h), bits)


@pytest.mark.parametrize("h", [1, 12, 31, 32, 33, 48, 64, 256])
def test_jax_packs_as_numpy(h, rng):
    bits = rng.random((7, h)) < 0.5
    packed = codes.pack(jnp.asarray(bits))
    assert isinstance(packed, jax.Array)
    np.testing.assert_array_equal(packed, codes.pack(bits))
    np.testing.assert_array_equal(codes.unpack(packed, h), bits)
    np.testing.assert_array_equal(jax.jit(codes.pack)(bits), packed)


def test_bit_order_is_the_documented_one():
    bits = np.zeros((1, 40), bool)
    bits[0, [0, 5, 33]] = True
    np.testing.assert_array_equal(codes.pack(bits), [[1 + 32, 2]])


def test_an_activation_of_one_half_gives_one():
    activations = np.array([[0.5, np.nextafter(np.float32(0.5), np.float32(0)), 1.0, 0.0]])
    expected = [[True, False, True, False]]
    np.testing.assert_array_equal(codes.binarize(activations.astype(np.float32)), expected)
    np.testing.assert_array_equal(codes.binarize(jnp.asarray(activations)), expected)


def test_errors_name_the_wrong_argument():
    with pytest.raises(TypeError, match="binarize"):
        codes.pack(np.ones((2, 8)))
    with pytest.raises(ValueError, match="1 or more"):
        codes.pack(np.ones((2, 0), bool))
    with pytest.raises(TypeError, match="uint32"):
        codes.unpack(np.zeros((2, 1), np.uint8), 8)
    with pytest.raises(ValueError, match="2 words"):
        codes.unpack(np.zeros((2, 1), np.uint32), 48)
    with pytest.raises(ValueError, match="above bit 11"):
        codes.check(np.array([[1 << 12]], np.uint32), 12)
