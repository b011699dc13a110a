"""NLL: classification by FC3 through the latent layer, and nothing else (paper, section 3.4)."""

from inres.learning import losses
from inres.learning.lazy import Array, jax, optax


def nll(logits: Array, labels: Array) -> Array:
    """Mean negative log-likelihood of the labels, int [B], under FC3's logits, [B, classes]."""
    target = jax.nn.one_hot(labels, logits.shape[-1])
    return optax.softmax_cross_entropy(logits, target).mean()


# The NLL is part of every training (`config.loss.classification`); this loss adds nothing to it.
losses.REGISTRY.add(
    "nll",
    losses.CodeLoss(
        name="nll",
        title="NLL",
        reference="Qin et al. 2018 (the paper), section 3.4",
        function=None,
        needs_classification=True,
    ),
    module=__name__,
)
