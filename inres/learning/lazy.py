"""JAX and Optax, imported when first used.

The config reads the settings of all losses, also in the processes that prepare scans, one per core.
JAX would cost each of them seconds and memory, so the files of losses import it from here.
"""

from typing import TYPE_CHECKING, Any

from inres.system.lazy import Lazy

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    import optax
    from jax import Array
else:
    Array = Any
    jax, jnp, optax = Lazy("jax"), Lazy("jax.numpy"), Lazy("optax")

__all__ = ["Array", "jax", "jnp", "optax"]
