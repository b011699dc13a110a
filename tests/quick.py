"""How to compile fast: most programs of the tests run only once or twice."""

import contextlib
import functools
import os

import jax
from jax._src import compiler

OPTIONS = {"xla_cpu_use_fusion_emitters": False}
"""Options of XLA next to JAX's own. Fusions then compile in half the time; later versions of XLA
do not have this option."""


@functools.cache
def options():
    """Those of `OPTIONS` that this version of XLA knows."""
    return {name: value for name, value in OPTIONS.items() if _is_known({name: value})}


def _is_known(option):
    try:
        jax.jit(lambda: 0, compiler_options=option)()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def environment(flags=""):
    """The environment of another process that compiles fast, with more `flags` of XLA."""
    known = (f"--{name}={str(value).lower()}" for name, value in options().items())
    every = " ".join((os.environ.get("XLA_FLAGS", ""), flags, *known)).strip()
    return os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": every}


@contextlib.contextmanager
def compilation():
    """Inside, programs are compiled fast."""
    known, made = [*options().items()], compiler.get_compile_options

    def get_compile_options(*arguments, **named):
        settings = made(*arguments, **named)
        settings.env_option_overrides = [*settings.env_option_overrides, *known]
        return settings

    jax.config.update("jax_disable_most_optimizations", True)
    compiler.get_compile_options = get_compile_options
    try:
        yield
    finally:
        compiler.get_compile_options = made
        jax.config.update("jax_disable_most_optimizations", False)
