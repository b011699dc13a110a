"""Shared fixtures."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# One result on every machine: no clock, no chance.
settings.register_profile("inres", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("inres")

# A shell's background commands ignore Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data():
    """Give the path of a set of real CT data, or skip where it is not on this machine."""
    base = Path(os.environ.get("INRES_TEST_DATA", ROOT.parent / "shared" / "data"))

    def path(name: str) -> Path:
        if not (base / name).exists():
            pytest.skip(f"real data {name!r} not found under {base}; set INRES_TEST_DATA")
        return base / name

    return path


@pytest.fixture(scope="module")
def quick_programs():
    """Compile without optimization: it takes longer than to run these programs once or twice."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
