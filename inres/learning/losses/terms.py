"""Segmentation and hash losses: pure functions of float32 arrays, each a scalar."""

import jax
import jax.numpy as jnp
import numpy as np
import optax


def nll(
    logits: jax.Array,
    labels: jax.Array,
    *,
    label_smoothing: float = 0.0,
    neighbour_smoothing: float = 0.0,
) -> jax.Array:
    """Mean negative log-likelihood (paper, section 3.4).

    Args:
      logits: [B, C], FC3.
      labels: int [B].
      label_smoothing: share of the target spread evenly over all classes.
      neighbour_smoothing: share of the target given to `neighbours` first.
    """
    classes = logits.shape[-1]
    near = jnp.asarray(neighbours(classes, neighbour_smoothing))[labels]
    target = optax.smooth_labels(near, label_smoothing)
    return optax.softmax_cross_entropy(logits, target).mean()


def neighbours(classes: int, share: float) -> np.ndarray:
    """Targets of each class, float32 [C, C]: `share` goes to the size classes beside it.

    Half of it to each side, so that the smallest and the largest class keep the half that has
    nowhere to go. Class 0 is no nodule: no size is its neighbour. Many diameters lie at a class's
    edge, where readers differ by more than what parts the classes.
    """
    target = np.eye(classes, dtype=np.float32)
    for label in range(1, classes):
        for near in (label - 1, label + 1):
            if 1 <= near < classes:
                target[label, near] += share / 2
                target[label, label] -= share / 2
    return target


def neighbourhood(
    features: jax.Array,
    kinship: jax.Array,
    items: jax.Array,
    log_weights: jax.Array | float = 0.0,
) -> jax.Array:
    """Minus the mean log kinship of an item's neighbour in the batch.

    The chance of an item j to be the neighbour of i is as w_j exp(-8 |f_i - f_j|^2 / D), over all
    others; so what is akin gathers in Euclidean distance, by which the fine stage ranks. Items
    without kin do not count; 0 where there is none that has. With kinship 1 within a class and 0
    between classes, and all w 1, this is Goldberger et al. 2004, "Neighbourhood components
    analysis", Eq. 7.

    Args:
      features: [B, D], FC1.
      kinship: [B, B], in [0, 1], as from `kinship`.
      items: int [B]; draws of the same item are not each other's neighbours.
      log_weights: [B], log w.
    """
    squares = jnp.sum(features**2, axis=1)
    inner = jnp.matmul(features, features.T, precision=jax.lax.Precision.HIGHEST)
    scores = -8.0 / features.shape[1] * (squares[:, None] + squares - 2.0 * inner) + log_weights
    itself = items[:, None] == items
    scores = jnp.where(itself, -1e9, scores)
    akin = (kinship > 0) & ~itself
    weighed = jnp.where(akin, scores + jnp.log(jnp.where(akin, kinship, 1.0)), -1e9)
    gap = jax.nn.logsumexp(scores, axis=1) - jax.nn.logsumexp(weighed, axis=1)
    counts = akin.any(axis=1)
    return jnp.sum(jnp.where(counts, gap, 0.0)) / jnp.maximum(counts.sum(), 1)


def kinship(
    labels: jax.Array, diameters_mm: jax.Array, *, spread: float, across: float
) -> jax.Array:
    """How near akin items are, float32 [B, B]: 1 within a class, `across` between size classes side
    by side, its square between those two apart, else 0; less, the more diameters differ.

    What the network takes for the next size is then still among its like. Class 0 is no nodule: no
    size is akin to it.

    Args:
      labels: int [B].
      diameters_mm: float [B]; NaN where unknown, 0 for no nodule.
      spread: a ratio of diameters of e^spread takes kinship to 1/e; 0: the class is all. An
        unknown diameter differs from none.
      across: in [0, 1]; 0: other classes are no kin.
    """
    apart = jnp.abs(labels[:, None] - labels)
    sizes = (labels[:, None] > 0) & (labels > 0)
    near = (apart == 0) | (sizes & (apart <= 2))
    akin = jnp.where(near, jnp.float32(across) ** apart, 0.0)
    if not spread:
        return akin
    known = diameters_mm > 0  # NaN compares false
    size = jnp.log(jnp.where(known, diameters_mm, 1.0))
    alike = jnp.exp(-jnp.abs(size[:, None] - size) / spread)
    return akin * jnp.where(known[:, None] & known, alike, 1.0)


def quantization(h: jax.Array) -> jax.Array:
    """`-mean((h - 1/2)^2)`: least, -1/4, where every activation is 0 or 1.

    h: [B, bits] in [0, 1]. Paper, section 2.3, in words; the term is that of Yang, Lin, Chen 2018,
    "Supervised learning of semantics-preserving hash via deep convolutional neural networks".
    """
    return -jnp.mean((h - 0.5) ** 2)


def balance(h: jax.Array) -> jax.Array:
    """`mean_j((mean_b h_bj - 1/2)^2)`: 0 where every bit is on for half of the batch.

    h: [B, bits] in [0, 1]. Paper, section 2.3.
    """
    return jnp.mean((h.mean(axis=0) - 0.5) ** 2)


def independence(kernel: jax.Array) -> jax.Array:
    """Mean squared entry of `W W^T - I` over the unit projections W of the bits.

    kernel: [F, bits], FC2. 0 where the projections are orthogonal (paper, section 2.3: "hash
    codes to be maximally independent").
    """
    unit = kernel / (jnp.linalg.norm(kernel, axis=0, keepdims=True) + 1e-12)
    gram = jnp.matmul(unit.T, unit, precision=jax.lax.Precision.HIGHEST)
    return jnp.mean((gram - jnp.eye(gram.shape[0])) ** 2)


def dice_loss(logits: jax.Array, masks: jax.Array, *, smooth: float = 1.0) -> jax.Array:
    """One minus the mean soft Dice of B masks (Milletari et al. 2016, "V-Net", section 3;
    there the sums below are of squares).

    logits, masks: [B, ...]; masks in {0, 1}; `smooth` pixels are added above and below, so
    that an empty mask has a gradient.
    """
    axes = tuple(range(1, logits.ndim))
    p = jax.nn.sigmoid(logits)
    inter = jnp.sum(p * masks, axis=axes)
    total = jnp.sum(p, axis=axes) + jnp.sum(masks, axis=axes)
    return jnp.mean(1.0 - (2.0 * inter + smooth) / (total + smooth))


def segmentation(logits: jax.Array, masks: jax.Array, *, dice_weight: float) -> jax.Array:
    """Mean pixel cross-entropy plus `dice_weight` times `dice_loss`."""
    return optax.sigmoid_binary_cross_entropy(logits, masks).mean() + dice_weight * dice_loss(
        logits, masks
    )
