"""Shared fixtures."""

import collections
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# The same result on every machine: no time limits, no randomness.
settings.register_profile("inres", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("inres")

# A directory of this test session; the workers of pytest-xdist inherit it.
if "INRES_TEST_SESSION" not in os.environ:
    _SESSION = tempfile.TemporaryDirectory(prefix="inres-tests-")
    os.environ["INRES_TEST_SESSION"] = _SESSION.name

# Many processes compile the same programs, so they share a cache. It must be set before JAX is
# imported.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(Path(os.environ["INRES_TEST_SESSION"]) / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }

# Background commands of a shell ignore Ctrl-C, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items):
    """Run the slowest files first, so that two workers finish at about the same time."""
    marks = collections.defaultdict(set)
    for item in items:
        marks[item.path] |= {mark.name for mark in item.iter_markers()}
    items.sort(key=lambda item: [name not in marks[item.path] for name in ("e2e", "slow")])


@pytest.fixture(scope="session", autouse=True)
def written_without_waiting():
    """What the tests write need not survive a loss of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def real_data():
    """Path of a set of real CT data; the test is skipped if it is missing."""
    base = Path(os.environ.get("INRES_TEST_DATA", ROOT.parent / "shared" / "data"))

    def path(name: str) -> Path:
        if not (base / name).exists():
            pytest.skip(f"real data {name!r} not found under {base}; set INRES_TEST_DATA")
        return base / name

    return path


@pytest.fixture(scope="module")
def quick_programs():
    """Compile without optimization, which takes longer than running a program once or twice."""
    import quick

    with quick.compilation():
        yield


@pytest.fixture
def tiny_disk(tmp_path):
    """A mounted file system of 192 KiB; skips without the right to mount."""
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=192k", "none", str(tmp_path / "disk")]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not allowed to mount a file system")
    yield tmp_path / "disk"
    subprocess.run(["umount", "--lazy", str(tmp_path / "disk")], check=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def clustered():
    """Make (codes, features) of n items in a few clusters, features small integers."""

    from inres.retrieval import codes

    def make(n, *, bits=48, dims=8, centres=4, flips=0.05, seed=0):
        rng = np.random.default_rng(seed)
        middle = rng.random((centres, bits)) < 0.5
        noise = rng.random((n, bits)) < flips
        packed = codes.pack(middle[rng.integers(0, centres, n)] ^ noise)
        return packed, rng.integers(-4, 5, (n, dims)).astype(np.float32)

    return make
