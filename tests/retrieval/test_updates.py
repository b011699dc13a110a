import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import faiss
import kill_store
import numpy as np
import pytest

from inres.retrieval import exchange, store, updates

BITS, items = kill_store.BITS, kill_store.items


@pytest.fixture
def path(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_ROWS", 16)
    store.save(tmp_path / "index", *items(range(30)), bits=BITS, model="m", shard_rows=16)
    return tmp_path / "index"


def assert_holds(path, ids):
    kill_store.look(path, [set(ids)])


def test_add_remove_compact(path):
    np.testing.assert_array_equal(updates.add(path, *items(range(30, 70))), range(30, 70))
    assert_holds(path, range(70))
    updates.remove(path, [0, 31, 69, 31])
    updates.remove(path, range(40, 50))
    left = set(range(70)) - {0, 31, 69} - set(range(40, 50))
    assert_holds(path, left)
    records = store.load(path).records
    assert len(records) == len(left)
    np.testing.assert_array_equal(records.where("value < 9"), sorted(i for i in left if i < 36))
    assert list(records.column("name")) == [f"item {i}" for i in sorted(left)]
    with pytest.raises(KeyError, match="no item 31"):
        records[31]
    updates.compact(path)
    assert_holds(path, left)
    assert [len(shard.ids) for shard in store.load(path).shards] == [16, 16, 16, 9]
    # Ids are never given again.
    np.testing.assert_array_equal(updates.add(path, *items([70])), [70])
    assert_holds(path, left | {70})


def test_everything_removed_and_begun_again(path):
    updates.remove(path, range(30))
    updates.compact(path)
    assert_holds(path, [])
    updates.add(path, *items(range(30, 33)))
    assert_holds(path, range(30, 33))


def test_no_more_files_than_are_named(path):
    (path / "codes-000077.npy").write_bytes(b"left by a killed writer")
    (path / ".codes-000078.npy.x").mkdir()
    updates.add(path, *items(range(30, 40)))
    updates.remove(path, [3])
    updates.compact(path)
    named = {entry["name"] for entry in store.named_files(store.read_manifest(path))}
    assert {p.name for p in path.iterdir()} == named | {store.MANIFEST, updates.LOCK}


def test_a_reader_keeps_the_state_it_opened(path):
    opened = store.load(path)
    updates.remove(path, range(20))
    updates.compact(path)
    np.testing.assert_array_equal(opened.features, items(range(30))[1])


def test_wrong_items_change_nothing(path):
    codes, features, records = items(range(3))
    before = (path / store.MANIFEST).read_bytes()
    for args, error in (
        ((codes, features[:, :5], records), "5 columns"),
        ((codes[:, :1], features, records), "words"),
        ((codes, features * np.nan, records), "finite"),
        ((codes, features, [{"name": "x"}] * 3), "columns"),
    ):
        with pytest.raises(ValueError, match=error):
            updates.add(path, *args)
    with pytest.raises(KeyError, match="no item 99"):
        updates.remove(path, [2, 99])
    with pytest.raises(store.StoreError, match=r"'m'.*'other'"):
        updates.add(path, codes, features, records, model="other")
    assert (path / store.MANIFEST).read_bytes() == before
    assert_holds(path, range(30))


def hold(path, ready, release):
    with updates._writing(path, None):
        ready.set()
        release.wait(30)


def test_the_second_writer_is_told(path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(path, ready, release))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(store.StoreError, match="another program"):
        updates.add(path, *items([30]))
    release.set()
    holder.join()
    updates.add(path, *items([30]))
    assert_holds(path, range(31))


def test_a_killed_writer_leaves_the_old_state_or_the_new():
    script = Path(kill_store.__file__)
    root = script.parents[2]
    run = subprocess.run(
        [sys.executable, script, "--kills", "15"],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert run.returncode == 0, run.stderr
    done, cut = map(int, re.findall(r"(\d+) changes .* (\d+) cut", run.stdout)[0])
    assert done > 0
    assert cut > 0


def test_import_from_npy(tmp_path, rng):
    bits = rng.random((9, BITS)) < 0.5
    features = rng.standard_normal((9, 4))
    np.save(tmp_path / "bits.npy", bits)
    np.save(tmp_path / "features.npy", features)
    exchange.import_npy(
        tmp_path / "a", tmp_path / "bits.npy", tmp_path / "features.npy", bits=BITS, model="x"
    )
    first = store.load(tmp_path / "a", model="x")
    np.save(tmp_path / "codes.npy", first.codes)
    exchange.import_npy(
        tmp_path / "b", tmp_path / "codes.npy", tmp_path / "features.npy", bits=BITS, model="x"
    )
    second = store.load(tmp_path / "b")
    np.testing.assert_array_equal(first.codes, second.codes)
    np.testing.assert_array_equal(second.features, features.astype(np.float32))
    assert second.records[8] == {"row": 8}
    with pytest.raises(store.StoreError, match=r"bits.npy.*uint32"):
        exchange.import_npy(
            tmp_path / "c", tmp_path / "bits.npy", tmp_path / "features.npy", bits=33, model="x"
        )
    (tmp_path / "bad.npy").write_text("no array")
    with pytest.raises(store.StoreError, match=r"bad\.npy"):
        exchange.import_npy(
            tmp_path / "c", tmp_path / "bad.npy", tmp_path / "features.npy", bits=BITS, model="x"
        )
    with pytest.raises(FileNotFoundError, match=r"none\.npy"):
        exchange.import_npy(
            tmp_path / "c", tmp_path / "none.npy", tmp_path / "features.npy", bits=BITS, model="x"
        )
    assert not (tmp_path / "c").exists()


def test_export_to_faiss(path, tmp_path):
    updates.remove(path, [1, 2])
    exchange.export_faiss(path, binary=tmp_path / "codes.faiss", flat=tmp_path / "features.faiss")
    opened = store.load(path)
    binary = faiss.read_index_binary(str(tmp_path / "codes.faiss"))
    flat = faiss.read_index(str(tmp_path / "features.faiss"))
    np.testing.assert_array_equal(faiss.vector_to_array(binary.id_map), opened.ids)
    np.testing.assert_array_equal(faiss.vector_to_array(flat.id_map), opened.ids)
    octets = opened.codes.view(np.uint8)[:, : BITS // 8]
    inner = faiss.downcast_IndexBinary(binary.index)
    np.testing.assert_array_equal(faiss.vector_to_array(inner.xb).reshape(octets.shape), octets)
    vectors = faiss.downcast_index(flat.index).reconstruct_n(0, len(opened))
    np.testing.assert_array_equal(vectors, opened.features)
