"""Losses of learned hash codes: pure functions of float32 arrays, each a scalar.

Everywhere u is [B, h], the pre-activation of the latent layer, whose signs are the code
(`sigmoid(u) >= 1/2`), and labels are int [B]. Sums of the papers are means here, so that a weight
means the same at any batch and code length. Losses of pairs and triplets run over the whole batch:
under jit it is one array, however many devices hold it.
"""

import jax
import jax.numpy as jnp
import optax

EXACT = jax.lax.Precision.HIGHEST


def sign_gap(u: jax.Array) -> jax.Array:
    """`mean((u - sign u)^2)`: 0 where every entry is -1 or 1."""
    return jnp.mean((jnp.abs(u) - 1.0) ** 2)


def dpsh(u: jax.Array, labels: jax.Array, *, quantization: float) -> jax.Array:
    """Pairs: `mean_ij(softplus(t_ij) - s_ij t_ij) + quantization mean((u - sign u)^2)`.

    t_ij = u_i . u_j / 2, and s_ij = 1 where the labels are equal; over all i != j. Li, Wang and
    Kang 2016, "Feature learning based deep supervised hashing with pairwise labels", Eqs. 2 and 5.
    """
    t = jnp.matmul(u, u.T, precision=EXACT) / 2.0
    pairs = 1.0 - jnp.eye(len(u))
    likelihood = jnp.sum(pairs * _pair_nll(t, labels)) / pairs.sum()
    return likelihood + quantization * sign_gap(u)


def hashnet(u: jax.Array, labels: jax.Array, *, beta: jax.Array, alpha: float) -> jax.Array:
    """Pairs of one class weighing as much as the others: `mean_ij w_ij (softplus(t) - s t)`.

    t_ij = alpha g_i . g_j over g = tanh(beta u), where beta grows during training (`hashnet_beta`);
    w_ij = pairs / similar pairs where s_ij = 1, else pairs / dissimilar pairs; over all i != j. Cao
    et al. 2017, "HashNet: deep learning to hash by continuation", Eqs. 2 to 5.
    """
    g = jnp.tanh(beta * u)
    t = alpha * jnp.matmul(g, g.T, precision=EXACT)
    pairs = 1.0 - jnp.eye(len(u))
    similar = pairs * (labels[:, None] == labels)
    apart = pairs - similar
    weights = similar / jnp.maximum(similar.sum(), 1.0) + apart / jnp.maximum(apart.sum(), 1.0)
    return jnp.sum(weights * _pair_nll(t, labels))


def hashnet_beta(progress: jax.Array, *, last: float) -> jax.Array:
    """HashNet's beta: from 1 to `last` as the root of `progress` in [0, 1] (the authors' code)."""
    return jnp.sqrt(1.0 + progress * (last**2 - 1.0))


def dtsh(u: jax.Array, labels: jax.Array, *, margin: float, quantization: float) -> jax.Array:
    """Triplets: `mean_apn softplus(margin - (t_ap - t_an)) + quantization mean((u - sign u)^2)`.

    t_ij = u_i . u_j / 2; a and p are two items of one class, n is one of another. 0 for the first
    term where a batch holds no triplet. Takes memory for B^3 numbers. Wang, Shi and Kitani 2016,
    "Deep supervised hashing with triplet labels", Eqs. 4 and 6.
    """
    t = jnp.matmul(u, u.T, precision=EXACT) / 2.0
    same = labels[:, None] == labels
    positive = same & ~jnp.eye(len(u), dtype=bool)
    triplets = positive[:, :, None] & ~same[:, None, :]
    costs = jax.nn.softplus(margin - (t[:, :, None] - t[:, None, :]))
    likelihood = jnp.sum(jnp.where(triplets, costs, 0.0)) / jnp.maximum(triplets.sum(), 1)
    return likelihood + quantization * sign_gap(u)


def straight_through_bits(u: jax.Array) -> jax.Array:
    """The code as numbers 0 and 1; its gradient is that of `(u + 1) / 2`.

    Su et al. 2018, "Greedy hash: towards fast optimization for accurate hash coding in CNN",
    Eq. 8.
    """
    soft = (u + 1.0) / 2.0
    return soft + jax.lax.stop_gradient(jnp.where(u >= 0, 1.0, 0.0) - soft)


def greedyhash(u: jax.Array, logits: jax.Array, labels: jax.Array, *, penalty: float) -> jax.Array:
    """`NLL(logits) + penalty mean(| |u| - 1 |^3)`.

    `logits` [B, C] must come from `straight_through_bits(u)`. Su et al. 2018, Eq. 10.
    """
    cost = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return cost + penalty * jnp.mean(jnp.abs(jnp.abs(u) - 1.0) ** 3)


def to_code(u: jax.Array, code: jax.Array) -> jax.Array:
    """Mean binary cross-entropy of the bits to a target code [B, h] in [0, 1]."""
    return optax.sigmoid_binary_cross_entropy(u, code).mean()


def csq(u: jax.Array, centres: jax.Array, *, quantization: float) -> jax.Array:
    """`BCE(sigmoid(u), centre of the class) + quantization mean((|a| - 1)^2)`, a = tanh(u / 2).

    centres: [B, h] in {0, 1}, far from each other, such as rows of a Hadamard matrix. Yuan et al.
    2020, "Central similarity quantization for efficient image and video retrieval", Eqs. 4 and 5;
    the quantization is a square, where Eq. 5 has log cosh for the absolute value.
    """
    return to_code(u, centres) + quantization * sign_gap(jnp.tanh(u / 2.0))


def orthohash(
    u: jax.Array, centres: jax.Array, labels: jax.Array, *, scale: float, margin: float
) -> jax.Array:
    """NLL of `scale (cos(u, c_k) - margin [k = label])` over the classes k.

    centres: [C, h] in {-1, 1}. A batch norm before u balances the bits. Hoe et al. 2021, "One
    loss for all: deep hashing with a single cosine similarity based learning objective", Eq. 8.
    """
    unit, target = (x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in (u + 1e-12, centres))
    cosine = jnp.matmul(unit, target.T, precision=EXACT)
    logits = scale * (cosine - margin * jax.nn.one_hot(labels, len(centres)))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def _pair_nll(t: jax.Array, labels: jax.Array) -> jax.Array:
    """`softplus(t) - s t`, [B, B]: minus the log likelihood of s under `sigmoid(t)`."""
    return jax.nn.softplus(t) - (labels[:, None] == labels) * t
