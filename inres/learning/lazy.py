"""JAX and Optax, imported when first used.

The config reads the settings of all losses, also in the processes that prepare scans, one per core.
JAX would cost each of them seconds and memory, so the files of losses import it from here.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    import optax
    from jax import Array
else:
    Array = Any

    class _Lazy:
        """A module that is imported when an attribute is read."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(importlib.import_module(self._name), attribute)

    jax, jnp, optax = _Lazy("jax"), _Lazy("jax.numpy"), _Lazy("optax")

__all__ = ["Array", "jax", "jnp", "optax"]
