"""Terms that several losses of the codes share.

`u` is the pre-activation of the latent layer, float32 [B, bits]; its signs are the code. The sums
of the papers are means here, so that a weight means the same for any batch size and code length.
"""

from inres.learning.lazy import Array, jax, jnp, optax


def inner_products(u: Array) -> Array:
    """`u_i . u_j` of all pairs in full float32 precision, [B, B]."""
    return jnp.matmul(u, u.T, precision="highest")


def pair_nll(t: Array, labels: Array) -> Array:
    """`softplus(t) - s t`, [B, B]: negative log-likelihood of s under `sigmoid(t)`.

    s_ij is 1 where the labels, int [B], are equal, else 0.
    """
    return jax.nn.softplus(t) - (labels[:, None] == labels) * t


def sign_gap(u: Array) -> Array:
    """`mean((u - sign u)^2)`: 0 where every entry is -1 or 1."""
    return jnp.mean((jnp.abs(u) - 1.0) ** 2)


def to_code(u: Array, code: Array) -> Array:
    """Mean binary cross-entropy between the bits and a target code, over its known bits.

    Args:
      u: float32 [B, bits].
      code: [B, bits] in [0, 1], NaN where unknown.
    """
    known = jnp.isfinite(code)
    # Selected before the logarithms, because the gradient of a masked NaN is NaN.
    costs = optax.sigmoid_binary_cross_entropy(u, jnp.where(known, code, 0.5))
    return jnp.sum(jnp.where(known, costs, 0.0)) / jnp.maximum(known.sum(), 1)
