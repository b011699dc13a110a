"""The CPU kernel gives the same bits on every instruction set and number of threads."""

import os
import shutil
import subprocess
import sys
import warnings

import numpy as np
import oracle
import pytest

from inres.retrieval import checks, codes, index, native, search

if native.kernel() is None and shutil.which("c++") is None:
    pytest.skip("no C++ compiler on this machine, so no kernel", allow_module_level=True)


def test_the_kernel_is_built():
    assert native.kernel() is not None, "there is a compiler, so reinstall the package"


def runs():
    for level in range(native.level() + 1):
        for workers in (1, 2, 3):
            yield {"how": native.How(workers=workers, level=level)}


@pytest.mark.parametrize(
    ("bits", "n", "q"),
    # The first case is divided among threads by tiles, the others by queries.
    [(64, 600_000, 1), (9, 20_000, 13), (32, 20_000, 13), (100, 20_000, 13), (520, 5000, 70)],
)
def test_every_processor_gives_the_same_bits(bits, n, q, rng):
    dims, k = 5 + bits // 8, 12
    middle = rng.random((3, bits)) < 0.5
    packed = codes.pack(middle[rng.integers(0, 3, n)] ^ (rng.random((n, bits)) < 0.05))
    # Few distinct rows, so that distances tie; not integers, so that sums are rounded.
    features = rng.standard_normal((500, dims), dtype=np.float32)[rng.integers(0, 500, n)]
    groups = rng.integers(-1, 4, n).astype(np.int32)
    built = index.build(packed, features, bits=bits, groups=groups)
    queries = checks.queries(
        packed[:q], features[100 : 100 + q] + np.float32(0.1), bits=bits, dims=dims, k=k,
        threshold=bits // 4, exclude_group=rng.integers(-1, 4, q),
    )  # fmt: skip
    first, *others = (native.search(built.kernel_items, queries, k=k, **run) for run in runs())
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    _, _, square, pool = oracle.search(
        packed, features, queries.codes, queries.features, threshold=bits // 4, k=k,
        groups=groups, exclude_group=queries.exclude_group,
    )  # fmt: skip
    np.testing.assert_array_equal(first[3], pool)
    np.testing.assert_allclose(first[2], np.sqrt(square), rtol=(dims + 4) * 2**-24)
    near, *others = (native.nearest(built.kernel_items, queries, k=k, **run) for run in runs())
    for other in others:
        np.testing.assert_array_equal(near, other)
    ranked, *others = (
        native.rank(built.kernel_items, queries, near[2], k=k, **run) for run in runs()
    )
    for other in others:
        for mine, theirs in zip(ranked, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_without_a_kernel_there_is_one_warning_and_the_same_result(monkeypatch, clustered):
    gallery, features = clustered(100)
    built = index.build(gallery, features, bits=48)
    expected = search.search(built, gallery[:1], features[:1], threshold=9, k=3)
    native.kernel.cache_clear()
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    try:
        with pytest.warns(UserWarning, match=r"kernel.*compiler"):
            result = search.search(built, gallery[:1], features[:1], threshold=9, k=3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # the warning is given once
            search.search_hamming(built, gallery[:1], k=3)
        with pytest.raises(ValueError, match="no kernel was built"):
            search.search(built, gallery[:1], features[:1], threshold=9, k=3, engine="native")
    finally:
        native.kernel.cache_clear()
    np.testing.assert_array_equal(result.ids, expected.ids)


def test_a_kernel_with_another_interface_is_not_used(monkeypatch):
    native.kernel.cache_clear()
    monkeypatch.setattr(native, "ABI", -1)
    try:
        with pytest.warns(UserWarning, match=r"interface \d+, expected -1"):
            assert native.kernel() is None
    finally:
        native.kernel.cache_clear()


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS keeps threads from starting")
def test_a_lack_of_threads_or_memory_does_not_end_the_process():
    program = """
import resource, numpy as np
from inres.retrieval import checks, index, native
rng = np.random.default_rng(0)
packed = rng.integers(0, 2**32, (300_000, 1), dtype=np.uint32)
features = rng.standard_normal((300_000, 4), dtype=np.float32)
built = index.build(packed, features, bits=32)
def run_all(q, k, workers, threshold=9):
    queries = checks.queries(
        packed[:q], features[:q], bits=32, dims=4, k=k, threshold=threshold)
    near = native.nearest(built.kernel_items, queries, k=k, how=native.How(workers))
    ranked = native.rank(built.kernel_items, queries, near[2], k=k, how=native.How(workers))
    return *native.search(built.kernel_items, queries, k=k, how=native.How(workers)), *near, *ranked
cases = [(1, 5), (64, 5), (64, 100)]
expected = [run_all(*case, 1) for case in cases]
def limit(megabytes):
    with open("/proc/self/statm") as f:
        size = int(f.read().split()[0]) * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, -1))
limit(23)  # enough for two stacks and the work of three threads
for case, right in zip(cases, expected):
    for mine, theirs in zip(run_all(*case, 16), right):
        np.testing.assert_array_equal(mine, theirs)
# 55 MB of results and about 150 MB of working memory: threads start and run out of memory.
k = len(packed)
queries = checks.queries(packed[:16], features[:16], bits=32, dims=4, k=k, threshold=33)
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
limit(100)
try:
    native.search(built.kernel_items, queries, k=k, how=native.How(4))
except MemoryError as error:
    assert "inres_search" in str(error), error
else:
    raise AssertionError("there was enough memory")
"""
    # Return freed memory to the system, or a limit on new memory would have no effect.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
