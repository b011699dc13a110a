"""Whether there is an accelerator, found without JAX where there can be none."""

import functools
import importlib.util
import os
import sys

PACKAGES = ("jax_plugins", "libtpu")
"""Packages through which JAX finds GPUs and TPUs; installed by `jax[cuda13]` and `jax[tpu]`."""
VARIABLES = ("PJRT_NAMES_AND_LIBRARY_PATHS", "TPU_LIBRARY_PATH")
"""Environment variables that name further ones."""


@functools.cache
def is_default() -> bool:
    """Whether JAX's default device is a GPU or TPU.

    JAX is not imported if it would find only CPUs, because its import takes longer than opening and
    searching an index.
    """
    if "jax" not in sys.modules and not _may_exist():
        return False
    import jax

    return jax.default_backend() != "cpu"


def _may_exist() -> bool:
    """Whether JAX may find an accelerator."""
    if chosen := os.environ.get("JAX_PLATFORMS"):
        return chosen != "cpu"
    return any(importlib.util.find_spec(name) for name in PACKAGES) or any(
        os.environ.get(name) for name in VARIABLES
    )
