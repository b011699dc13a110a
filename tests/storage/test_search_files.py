"""An index on disk is searched as it lies there: after every change, and in every version."""

import json
import math

import numpy as np
import oracle
import pytest

from inres.retrieval import native, search
from inres.retrieval.segment import Segment
from inres.storage import errors, manifest, store, updates

BITS, DIMS = 40, 5


def made(n, seed=0):
    """Codes of which many are equal, features and records of n items."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 2**20, (30, 2), dtype=np.uint32) & np.uint32(0xFF)
    packed = codes[rng.integers(0, 30, n)]
    features = rng.integers(-9, 9, (n, DIMS)).astype(np.float32)
    rows = [
        {"scan": f"s{rng.integers(0, 6)}" if i % 5 else None, "label": int(rng.integers(0, 3))}
        for i in range(n)
    ]
    return packed, features, rows


class Model:
    """What the index should hold."""

    def __init__(self):
        self.items = {}

    def add(self, ids, codes, features, rows):
        for i, code, feature, row in zip(ids, codes, features, rows, strict=True):
            self.items[int(i)] = (code, feature, row)

    def check(self, path):
        """Every kind of search gives what brute force gives."""
        stored = store.load(path)
        ids = np.array(sorted(self.items))
        codes = np.stack([self.items[i][0] for i in ids])
        features = np.stack([self.items[i][1] for i in ids])
        scans = [self.items[i][2]["scan"] for i in ids]
        labels = np.array([self.items[i][2]["label"] for i in ids])
        names = [f"s{i}" for i in range(6)]
        own = np.array([stored.group_number(name) for name in names])
        groups = np.array([-1 if scan is None else names.index(scan) for scan in scans])
        seen = [name in scans for name in names]
        assert [number >= 0 for number in own[seen]] == [True] * sum(seen)
        assert stored.group_number("") == stored.group_number("unknown") == -1
        queries, wanted = codes[:6] ^ np.uint32(1), features[:6] + 1
        absent = np.where(seen, np.arange(6), -1)
        for pool in ({"threshold": 4}, {"nearest": 20}, {"threshold": 1, "min_pool": 9}):
            found = search.search(stored.index, queries, wanted, k=8, exclude_group=own, **pool)
            expected = oracle.search(
                codes, features, queries, wanted, k=8, groups=groups, exclude_group=absent,
                ids=ids, **pool,
            )  # fmt: skip
            np.testing.assert_array_equal(found.ids, expected[0])
            np.testing.assert_array_equal(found.pool_size, expected[3])
            only = np.array([0, 1, 2, -1, 0, 1])
            found = search.search(stored.labelled, queries, wanted, k=8, only_label=only, **pool)
            expected = oracle.search(
                codes, features, queries, wanted, k=8, labels=labels, only_label=only, ids=ids,
                **pool,
            )  # fmt: skip
            np.testing.assert_array_equal(found.ids, expected[0])


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(store, "SHARD_ROWS", 40)


def saved(path, n=100, **options):
    model, given = Model(), made(n)
    store.save(path, *given, bits=BITS, model="m", group="scan", label="label", **options)
    model.add(range(n), *given)
    return model


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_after_every_change(tmp_path, dtype):
    path = tmp_path / "i"
    model = saved(path, dtype=dtype)
    model.check(path)
    given = made(25, seed=1)
    model.add(updates.add(path, *given), *given)
    model.check(path)
    gone = [i for i in model.items if i % 7 == 0 or 30 <= i < 70]
    updates.remove(path, gone)
    for i in gone:
        del model.items[i]
    model.check(path)
    before = {f"s{i}": store.load(path).group_number(f"s{i}") for i in range(6)}
    updates.compact(path)
    model.check(path)
    assert {name: store.load(path).group_number(name) for name in before} == before
    given = made(9, seed=2)
    model.add(updates.add(path, *given), *given)
    model.check(path)


def test_what_was_opened_before_stays_as_it_was(tmp_path):
    path = tmp_path / "i"
    saved(path)
    opened = store.load(path)
    codes, features, _ = made(100)
    before = search.search(opened.index, codes[:5], features[:5], threshold=3, k=9)
    updates.remove(path, [int(i) for i in before.ids[0] if i >= 0])
    updates.compact(path)
    again = search.search(opened.index, codes[:5], features[:5], threshold=3, k=9)
    np.testing.assert_array_equal(again.ids, before.ids)
    now = search.search(store.load(path).index, codes[:5], features[:5], threshold=3, k=9)
    assert not set(now.ids[0]) & set(before.ids[0][before.ids[0] >= 0])


def as_version_1(path):
    """Write the index as version 1 had it: without files for the search."""
    old = manifest.read(path)
    for entry in old["shards"]:
        for part in [*entry["files"]]:
            if part not in ("codes", "features", "ids", "records"):
                (path / entry["files"].pop(part)["name"]).unlink()
        for fact in ("distinct", "width", "substrings"):
            del entry[fact]
    for key in ("group", "label", "next_group"):
        del old[key]
    manifest.write(path, old | {"version": 1})


def test_an_index_of_version_1_is_read_changed_and_renewed(tmp_path):
    path = tmp_path / "i"
    model = saved(path)
    as_version_1(path)
    assert store.load(path).searchable == ()
    model.check(path)
    given = made(50, seed=3)
    model.add(updates.add(path, *given), *given)
    model.check(path)
    updates.remove(path, [3, 120])
    del model.items[3], model.items[120]
    model.check(path)
    updates.compact(path)
    model.check(path)
    opened = store.load(path)
    assert len(opened.searchable) == len(opened.shards)


def test_the_index_is_searched_on_disk(tmp_path):
    path = tmp_path / "i"
    saved(path)
    for part in store.load(path).index.segments:
        arrays = [part.ids, part.features, part.order, part.groups, part.sketch.codes]
        assert all(isinstance(array, np.memmap) for array in arrays)
        assert isinstance(part, Segment)


@pytest.mark.parametrize("part", ["directory", "sketch", "groups", "order", "place"])
def test_damage_is_found_by_verify_and_truncation_on_opening(tmp_path, part):
    path = tmp_path / "i"
    saved(path)
    file = next(path.glob(f"{part}-*"))
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    store.load(path)
    with pytest.raises(errors.StoreError, match=file.name):
        store.verify(path)
    file.write_bytes(raw[:-1])
    with pytest.raises(errors.StoreError, match=rf"{file.name}.*bytes"):
        store.load(path)


def test_group_and_label_must_be_columns(tmp_path):
    codes, features, rows = made(4)
    for given, match in (
        ({"group": "label"}, "'label' is not a column of texts"),
        ({"label": "scan"}, "'scan' is not a column of integers"),
        ({"group": "patient"}, "'patient' is not a column of texts"),
    ):
        with pytest.raises(ValueError, match=match):
            store.save(tmp_path / "i", codes, features, rows, bits=BITS, model="m", **given)
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_names_the_files_of_the_search(tmp_path):
    saved(tmp_path / "i")
    named = json.loads((tmp_path / "i" / manifest.MANIFEST).read_text())
    assert named["version"] == 2
    assert named["group"], named["label"] == ("scan", "label")
    assert math.isfinite(named["next_group"])
    for shard in named["shards"]:
        assert {"order", "directory", "sketch", "groups", "labels"} <= {*shard["files"]}


def test_an_empty_index_has_only_empty_pools(tmp_path):
    nothing = np.zeros((0, 2), np.uint32), np.zeros((0, DIMS), np.float32)
    store.save(tmp_path / "i", *nothing, [], bits=BITS, model="m")
    built = store.load(tmp_path / "i").index
    for engine in ("native", "jax") if native.kernel() else ("jax",):
        codes, features, _ = made(2)
        found = search.search(built, codes, features, threshold=9, k=3, engine=engine)
        assert (found.ids == -1).all()
        assert (found.pool_size == 0).all()


def test_labels_need_no_second_copy_on_a_device(tmp_path):
    saved(tmp_path / "i")
    stored = store.load(tmp_path / "i")
    plain, labelled = stored.index.on_device, stored.labelled.on_device
    assert plain.features is labelled.features
    assert plain.tags.label is None
    codes, features, _ = made(100)
    found = [
        search.search(stored.index, codes[:5], features[:5], threshold=3, k=9, engine=engine)
        for engine in ("native" if native.kernel() else "jax", "jax")
    ]
    np.testing.assert_array_equal(found[0].ids, found[1].ids)


def test_an_index_without_groups_stays_on_disk(tmp_path):
    """Also where its records have a column that another index is grouped by."""
    codes, features = np.arange(9, dtype=np.uint32)[:, None], np.ones((9, 3), np.float32)
    store.save(tmp_path / "i", codes, features, {"scan": [*"aabbccdde"]}, bits=8, model="")
    opened = store.load(tmp_path / "i")
    assert isinstance(opened.index.segments[0].features, np.memmap)
    assert opened.group_number("a") == -1
