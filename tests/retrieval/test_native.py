"""The CPU kernel, on every instruction set and number of threads: the same bits."""

import shutil
import warnings

import numpy as np
import oracle
import pytest

from inres.retrieval import codes, index, native

if native.kernel() is None and shutil.which("c++") is None:
    pytest.skip("no C++ compiler on this machine, so no kernel", allow_module_level=True)


def test_the_kernel_is_built():
    assert native.kernel() is not None, "there is a compiler: install the package again"


def runs():
    for level in range(native.level() + 1):
        for workers in (1, 2, 3):
            yield {"force_level": level, "workers": workers}


@pytest.mark.parametrize(
    ("bits", "n", "q"),
    # The first is shared out by tiles, the others by queries.
    [(64, 600_000, 1), (9, 20_000, 13), (32, 20_000, 13), (100, 20_000, 13), (520, 5000, 70)],
)
def test_every_processor_gives_the_same_bits(bits, n, q, rng):
    dims, k = 5 + bits // 8, 12
    middle = rng.random((3, bits)) < 0.5
    packed = codes.pack(middle[rng.integers(0, 3, n)] ^ (rng.random((n, bits)) < 0.05))
    # Few distinct rows, so that distances tie; no whole numbers, so that sums are rounded.
    features = rng.standard_normal((500, dims), dtype=np.float32)[rng.integers(0, 500, n)]
    groups = rng.integers(-1, 4, n).astype(np.int32)
    built = index.build(packed, features, bits=bits, groups=groups)
    queries = index.check_queries(
        packed[:q], features[100 : 100 + q] + np.float32(0.1), bits=bits, dims=dims, k=k,
        threshold=bits // 4, exclude=rng.integers(-1, 4, q),
    )  # fmt: skip
    first, *others = (native.search(built._native, queries, k=k, **run) for run in runs())
    for other in others:
        for mine, theirs in zip(first, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
    _, _, square, pool = oracle.search(
        packed, features, queries.codes, queries.features, threshold=bits // 4, k=k,
        groups=groups, own=queries.own,
    )  # fmt: skip
    np.testing.assert_array_equal(first[3], pool)
    np.testing.assert_allclose(first[2], np.sqrt(square), rtol=(dims + 4) * 2**-24)
    near, *others = (native.nearest(built._native, queries, k=k, **run) for run in runs())
    for other in others:
        np.testing.assert_array_equal(near, other)
    ranked, *others = (native.rank(built._native, queries, near[2], k=k, **run) for run in runs())
    for other in others:
        for mine, theirs in zip(ranked, other, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_a_missing_kernel_is_said_and_done_without(monkeypatch, archive):
    gallery, features = archive(100)
    built = index.build(gallery, features, bits=48)
    expected = index.search(built, gallery[:1], features[:1], threshold=9, k=3)
    native.kernel.cache_clear()
    monkeypatch.setattr(native.importlib.util, "find_spec", lambda name: None)
    try:
        with pytest.warns(UserWarning, match=r"kernel.*compiler"):
            result = index.search(built, gallery[:1], features[:1], threshold=9, k=3)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # said once
            index.search_hamming(built, gallery[:1], k=3)
        with pytest.raises(ValueError, match="no kernel"):
            index.search(built, gallery[:1], features[:1], threshold=9, k=3, engine="native")
    finally:
        native.kernel.cache_clear()
    np.testing.assert_array_equal(result.ids, expected.ids)


def test_a_kernel_of_another_build_is_not_used(monkeypatch):
    native.kernel.cache_clear()
    monkeypatch.setattr(native, "ABI", -1)
    try:
        with pytest.warns(UserWarning, match=r"interface \d+, this is -1"):
            assert native.kernel() is None
    finally:
        native.kernel.cache_clear()
