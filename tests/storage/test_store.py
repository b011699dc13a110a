import json
import math
import tracemalloc

import jax.numpy as jnp
import numpy as np
import pytest
from documents import marked_block

from inres.retrieval import codes, index, segment
from inres.storage import errors, manifest, records, shards, store, updates


def make_records(n):
    return [
        {
            "scan": f"scan-{i // 3}",
            "label": i % 4,
            "diameter_mm": math.nan if i % 4 == 0 else 4.5 + i,
            "note": None if i % 2 else "é'\"",
        }
        for i in range(n)
    ]


@pytest.fixture
def saved(tmp_path, clustered):
    gallery, features = clustered(50, dims=6)
    store.save(
        tmp_path / "index", gallery, features, make_records(50), bits=48, model="m1", shard_rows=20
    )
    return tmp_path / "index", gallery, features


def test_round_trip(saved):
    path, gallery, features = saved
    stored = store.load(path, model="m1")
    assert (len(stored), stored.bits, stored.dims, stored.model) == (50, 48, 6, "m1")
    assert len(stored.shards) == 3
    assert isinstance(stored.shards[0].features, np.memmap)
    np.testing.assert_array_equal(stored.codes, gallery)
    np.testing.assert_array_equal(stored.features, features)
    np.testing.assert_array_equal(stored.ids, np.arange(50))
    store.verify(path)


def column_forms(rows):
    """The same records in every accepted form."""
    lists = {name: [row[name] for row in rows] for name in rows[0]}
    arrays = lists | {"label": np.array(lists["label"], np.int16)}
    arrays |= {"diameter_mm": np.array(lists["diameter_mm"]), "scan": np.array(lists["scan"])}
    return {"dicts": rows, "lists": lists, "arrays": arrays}


@pytest.mark.parametrize("form", ["dicts", "lists", "arrays"])
def test_records_by_id_by_column_and_by_condition(tmp_path, clustered, monkeypatch, form):
    monkeypatch.setattr(records, "BLOCK", 7)
    path = tmp_path / "i"
    given = column_forms(make_records(50))[form]
    store.save(path, *clustered(50), given, bits=48, model="", shard_rows=20)
    check_records(store.load(path).records)


def check_records(records):
    expected = make_records(50)
    assert len(records) == 50
    for i in (0, 1, 19, 20, 49):
        for name, value in expected[i].items():
            np.testing.assert_equal(records[i][name], value)
    assert [r["diameter_mm"] for r in records.many([45, 3, 45])] == [49.5, 7.5, 49.5]
    np.testing.assert_equal(records.column("diameter_mm"), [r["diameter_mm"] for r in expected])
    assert records.column("label").dtype == np.int64
    assert list(records.column("scan")) == [r["scan"] for r in expected]
    both = [[r["label"], r["diameter_mm"]] for r in expected]
    np.testing.assert_array_equal(records.numbers(["label", "diameter_mm"]), both)
    with pytest.raises(ValueError, match="column 'scan' holds texts"):
        records.numbers(["scan"])
    assert records.distinct("scan") == {r["scan"] for r in expected}
    with pytest.raises(KeyError, match="no column 'x'"):
        records.distinct("x")
    np.testing.assert_array_equal(
        records.where("diameter_mm BETWEEN ? AND ? AND label = 1", (20, 40)), [17, 21, 25, 29, 33]
    )
    for number in (np.int64(1), np.float32(1), np.int8(1), 1):
        np.testing.assert_array_equal(
            records.where("label = ?", (number,)), records.where("label = 1")
        )
    for missing in (50, -1):
        with pytest.raises(KeyError, match=f"no item {missing}"):
            records[missing]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_features_in_half_the_bytes(tmp_path, clustered, dtype):
    gallery, features = clustered(30)
    features += 0.001
    store.save(tmp_path / "i", gallery, features, make_records(30), bits=48, model="", dtype=dtype)
    got = store.load(tmp_path / "i").features
    kind = jnp.bfloat16 if dtype == "bfloat16" else np.float16
    assert got.dtype == kind
    np.testing.assert_array_equal(got.astype(np.float32), features.astype(kind).astype(np.float32))


def test_an_empty_index_is_an_index(tmp_path):
    store.save(
        tmp_path / "i", np.zeros((0, 1), np.uint32), np.zeros((0, 4), np.float32), [],
        bits=9, model="m",
    )  # fmt: skip
    stored = store.load(tmp_path / "i")
    assert stored.codes.shape == (0, 1)
    assert stored.features.shape == (0, 4)
    store.verify(tmp_path / "i")


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 4
    path.write_bytes(raw)


@pytest.mark.parametrize("part", shards.PARTS)
def test_a_flipped_byte_is_found(saved, part):
    path = next(saved[0].glob(f"{part}-000001.*"))
    flip(path)
    with pytest.raises(errors.StoreError, match=path.name):
        store.verify(saved[0])
    with pytest.raises(errors.StoreError, match=path.name):
        store.load(saved[0], verify=True)


def test_a_flipped_byte_in_the_removed_ids_is_found_on_opening(saved):
    updates.remove(saved[0], [3, 9])
    path = next(saved[0].glob("removed-*"))
    flip(path)
    with pytest.raises(errors.StoreError, match=path.name):
        store.load(saved[0])


def test_opening_reads_no_items(saved):
    updates.remove(saved[0], [7, *range(20, 30)])
    for part in ("codes", "features", "ids", "records"):
        # Headers stay intact, and so do the first and last ids.
        path = next(saved[0].glob(f"{part}-000001.*"))
        raw = bytearray(path.read_bytes())
        middle = slice(140, 170) if part == "ids" else slice(len(raw) // 2, len(raw))
        raw[middle] = b"\xff" * len(raw[middle])
        path.write_bytes(raw)
    opened = store.load(saved[0])
    assert len(opened) == len(opened.records) == 39
    assert [len(shard) for shard in opened.shards] == [19, 10, 10]


def test_changes_need_memory_for_a_block_and_not_for_all_items(tmp_path, monkeypatch):
    n, dims = 32_000, 128
    monkeypatch.setattr(shards, "BLOCK_BYTES", 1 << 16)
    monkeypatch.setattr(records, "BLOCK", 128)
    monkeypatch.setattr(store, "SHARD_ROWS", 3000)
    monkeypatch.setattr(segment, "BLOCK_BYTES", 1 << 19)
    wide = np.lib.format.open_memmap(tmp_path / "wide.npy", "w+", np.float32, (n, dims))
    wide[:] = np.arange(n)[:, None]
    packed = np.lib.format.open_memmap(tmp_path / "codes.npy", "w+", np.uint32, (n, 1))
    tracemalloc.start()
    try:
        store.save(tmp_path / "i", packed, wide, {"row": np.arange(n)}, bits=32, model="")
        updates.add(tmp_path / "i", packed, wide, {"row": np.arange(n)})
        updates.remove(tmp_path / "i", range(0, 2 * n, 5))
        updates.compact(tmp_path / "i")
        store.verify(tmp_path / "i")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < wide.nbytes / 2
    got = store.load(tmp_path / "i")
    np.testing.assert_array_equal(got.features[:, 0], [i % n for i in range(2 * n) if i % 5])


def test_another_program_reads_it_by_the_readme(tmp_path, clustered):
    """Run the example in README.md on an index that has seen every kind of change."""
    example = marked_block("inres/storage/README.md", "reads the index", "python")
    path = tmp_path / "i"
    packed, wide = clustered(60, bits=45)
    rows = make_records(60)
    store.save(path, packed[:40], wide[:40], rows[:40], bits=45, model="é", shard_rows=20)
    updates.remove(path, [5, 39])
    updates.compact(path)
    updates.add(path, packed[40:], wide[40:], rows[40:])
    updates.remove(path, [50, 0])
    names: dict = {}
    exec(example.replace("runs/phantom/index/archive", str(path)), names)
    left = sorted(set(range(60)) - {5, 39, 50, 0})
    assert sorted(names["items"]) == left
    assert names["manifest"]["count"] == len(left)
    for i in left:
        bits, feature, record = names["items"][i]
        np.testing.assert_array_equal(bits, codes.unpack(packed[i], 45))
        np.testing.assert_array_equal(feature, wide[i])
        diameter = rows[i]["diameter_mm"]
        known = [rows[i]["scan"], rows[i]["label"], None if math.isnan(diameter) else diameter]
        assert record == (i, *known, rows[i]["note"])


@pytest.mark.parametrize("part", shards.PARTS)
def test_a_truncated_or_missing_shard_is_found_on_opening(saved, part):
    path = next(saved[0].glob(f"{part}-000001.*"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(errors.StoreError, match=rf"{path.name}.*bytes"):
        store.load(saved[0])
    path.unlink()
    with pytest.raises(errors.StoreError, match=rf"{path.name}.*missing"):
        store.load(saved[0])


def test_a_damaged_database_is_named(saved):
    path = saved[0] / "records-000000.sqlite"
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(errors.StoreError, match=path.name):
        store.load(saved[0]).records[3]


def test_another_model_is_refused(saved):
    with pytest.raises(errors.StoreError, match=r"manifest.json.*'m1'.*'m2'"):
        store.load(saved[0], model="m2")


def test_another_version_is_refused(saved):
    path = saved[0] / manifest.MANIFEST
    path.write_text(path.read_text().replace('"version": 2', '"version": 99'))
    with pytest.raises(errors.StoreError, match=r"manifest.json.*version 99"):
        store.load(saved[0])


def test_every_flipped_byte_of_the_manifest_is_found(saved):
    path = saved[0] / manifest.MANIFEST
    raw = path.read_bytes()
    meaning = json.loads(raw)
    for place in range(0, len(raw), 7):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 2]) + raw[place + 1 :])
        try:
            if json.loads(path.read_bytes()) == meaning:
                continue  # only white space changed
        except ValueError:
            pass
        with pytest.raises(errors.StoreError, match=r"manifest\.json"):
            store.load(saved[0])


def test_an_index_saved_over_another_is_not_mixed_with_it(saved, monkeypatch):
    path, gallery, features = saved
    open_manifest = store.open_manifest

    def replace_and_open(root, manifest, model):
        if manifest["model"] == "m1":
            rows = make_records(50)
            store.save(path, gallery, -features, rows, bits=48, model="m2", shard_rows=20)
        return open_manifest(root, manifest, model)

    monkeypatch.setattr(store, "open_manifest", replace_and_open)
    opened = store.load(path)
    assert opened.model == "m2"
    np.testing.assert_array_equal(opened.features, -features)


def test_a_missing_index_is_reported(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no index here"):
        store.load(tmp_path)


def test_bad_input_leaves_nothing(tmp_path, clustered):
    gallery, features = clustered(10)
    bad = features.copy()
    bad[4, 0] = np.inf
    records = make_records(10)
    uneven = [*records[:9], {"scan": "x"}]
    path = tmp_path / "i"
    for args, error in (
        ((gallery, bad, records), "finite"),
        ((gallery, features, records[:9]), "9 records"),
        ((gallery, features, uneven), "record 9"),
        ((gallery, features, [{"id": i} for i in range(10)]), "'id'"),
    ):
        with pytest.raises(ValueError, match=error):
            store.save(path, *args, bits=48, model="m")
    with pytest.raises(TypeError, match="mixes"):
        store.save(path, gallery, features, [{"a": i or "x"} for i in range(10)], bits=48, model="")
    with pytest.raises(ValueError, match="float16"):
        store.save(path, gallery, features * 1e6, records, bits=48, model="", dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_only_an_index_is_replaced(tmp_path, clustered):
    thesis = tmp_path / "precious" / "sub" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("mine")
    given = (*clustered(5), make_records(5))
    for path in (tmp_path / "precious", thesis):
        with pytest.raises(errors.StoreError, match="is not an index"):
            store.save(path, *given, bits=48, model="")
    assert thesis.read_text() == "mine"
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    for _ in range(2):
        store.save(tmp_path / "link", *given, bits=48, model="")
    assert (tmp_path / "link").is_symlink()
    assert len(store.load(tmp_path / "empty").records) == 5


def test_a_condition_that_fails_on_a_value_is_not_reported_as_damage(tmp_path, clustered):
    store.save(tmp_path / "i", *clustered(5), [{"a": -(2**63)}] * 5, bits=48, model="")
    got = store.load(tmp_path / "i").records
    with pytest.raises(ValueError, match=r"condition .*integer overflow") as error:
        got.where("abs(a) = 1")
    assert not isinstance(error.value, errors.StoreError)


@pytest.mark.parametrize("ids", [[True, False], [1.0], [[1]], 3])
def test_only_whole_numbers_are_ids(tmp_path, clustered, ids):
    store.save(tmp_path / "i", *clustered(5), make_records(5), bits=48, model="")
    with pytest.raises(ValueError, match="must be integers"):
        updates.remove(tmp_path / "i", ids)
    opened = store.load(tmp_path / "i")
    with pytest.raises(ValueError, match="must be integers"):
        opened.records.many(ids)
    built = index.build(opened.codes, opened.features, bits=48)
    with pytest.raises(ValueError, match="must be integers"):
        index.keep(built, ids)
    assert len(index.keep(built, [])) == 5
