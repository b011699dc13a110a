import errno
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import kill_store
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inres.storage import errors, manifest, records, store, updates

BITS, items = kill_store.BITS, kill_store.items


def assert_holds(path, ids):
    kill_store.check_index(path, [set(ids)])


def rows_of_shards(path):
    return [len(shard.ids) for shard in store.load(path).shards]


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
    assert rows_of_shards(path) == [16, 16, 16, 9]
    # Ids are never reused.
    np.testing.assert_array_equal(updates.add(path, *items([70])), [70])
    assert_holds(path, left | {70})


CHANGES = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 40)),
    st.tuples(st.just("remove"), st.lists(st.floats(0, 0.999), max_size=25)),
    st.tuples(st.just("compact"), st.none()),
)


@settings(max_examples=12)
@given(first=st.integers(0, 20), changes=st.lists(CHANGES, max_size=6))
def test_random_changes_act_like_changes_of_a_set(first, changes):
    with (
        tempfile.TemporaryDirectory() as root,
        mock.patch.object(store, "SHARD_ROWS", 16),
        mock.patch.object(records, "BLOCK", 5),
        mock.patch.object(os, "fsync"),
    ):
        path = Path(root) / "i"
        store.save(path, *items(range(first)), bits=BITS, model="", shard_rows=16)
        held, next_id = list(range(first)), first
        for kind, value in changes:
            if kind == "add":
                new = list(range(next_id, next_id + value))
                np.testing.assert_array_equal(updates.add(path, *items(new)), new)
                held, next_id = held + new, next_id + value
            elif kind == "remove":
                gone = {held[int(share * len(held))] for share in value} if held else set()
                updates.remove(path, sorted(gone))
                held = [i for i in held if i not in gone]
            else:
                updates.compact(path)
                assert sum(rows_of_shards(path)) == len(held)
            assert_holds(path, held)


def test_adding_one_by_one_leaves_few_shards(path):
    for i in range(30, 45):
        updates.add(path, *items([i]))
    assert rows_of_shards(path) == [16, 14, 8, 4, 2, 1]
    updates.compact(path)
    assert rows_of_shards(path) == [16, 16, 13]
    assert_holds(path, range(45))


def test_compacting_keeps_shards_that_would_not_change(path):
    updates.add(path, *items(range(30, 62)))
    updates.remove(path, [20, 60])
    before = {p.name: p.stat().st_mtime_ns for p in path.glob("features-*")}
    assert rows_of_shards(path) == [16, 14, 16, 16]
    updates.compact(path)
    after = {p.name: p.stat().st_mtime_ns for p in path.glob("features-*")}
    assert rows_of_shards(path) == [16, 13, 16, 15]
    assert set(before.items()) & set(after.items()) == {
        (f"features-00000{i}.npy", before[f"features-00000{i}.npy"]) for i in (0, 2)
    }
    before = manifest.read(path)
    updates.compact(path)
    assert manifest.read(path) == before


@pytest.mark.parametrize("part", ["codes", "features", "ids", "records"])
def test_damage_is_not_copied(path, part):
    updates.remove(path, [20])
    updates.add(path, *items([30, 31]))
    file = path / f"{part}-000003.{'sqlite' if part == 'records' else 'npy'}"
    raw = bytearray(file.read_bytes())
    raw[-2] ^= 1
    file.write_bytes(raw)
    before = (path / manifest.MANIFEST).read_bytes()
    for change in (lambda: updates.compact(path), lambda: updates.add(path, *items([32, 33]))):
        with pytest.raises(errors.StoreError, match=file.name):
            change()
    assert (path / manifest.MANIFEST).read_bytes() == before


def test_integer_columns_become_real_and_columns_are_matched_by_name(tmp_path):
    codes, features, _ = items(range(2))
    store.save(
        tmp_path / "i", codes, features, {"a": [1, 2], "b": ["x", None]}, bits=BITS, model=""
    )
    updates.add(tmp_path / "i", codes, features, {"b": [None, "y"], "a": [0.5, None]})
    np.testing.assert_equal(store.load(tmp_path / "i").records.column("a"), [1, 2, 0.5, np.nan])
    updates.remove(tmp_path / "i", [1])
    updates.compact(tmp_path / "i")
    got = store.load(tmp_path / "i").records
    assert got.columns == {"a": "real", "b": "text"}
    assert got[0] == {"a": 1.0, "b": "x"}
    assert type(got[0]["a"]) is float
    assert got[2] == {"a": 0.5, "b": None}
    with pytest.raises(ValueError, match="'b' holds real, not text"):
        updates.add(tmp_path / "i", codes, features, {"a": [1, 1], "b": [1.5, 2]})


def test_items_can_be_added_after_all_were_removed(path):
    updates.remove(path, range(30))
    updates.compact(path)
    assert_holds(path, [])
    updates.add(path, *items(range(30, 33)))
    assert_holds(path, range(30, 33))


def test_files_outside_of_the_manifest_are_removed(path):
    (path / "codes-000077.npy").write_bytes(b"left by a killed writer")
    (path / ".codes-000078.npy.x").mkdir()
    (path / ".manifest.json.x").mkdir()
    (path / "notes.txt").write_text("not part of the index")
    updates.add(path, *items(range(30, 40)))
    updates.remove(path, [3])
    updates.compact(path)
    named = {entry["name"] for entry in manifest.named_files(manifest.read(path))}
    assert {p.name for p in path.iterdir()} == named | {
        manifest.MANIFEST,
        manifest.LOCK,
        "notes.txt",
    }


def test_a_reader_keeps_the_state_it_opened(path):
    opened = store.load(path)
    updates.remove(path, range(20))
    updates.compact(path)
    np.testing.assert_array_equal(opened.features, items(range(30))[1])
    assert opened.records.many([3, 29]) == items([3, 29])[2]
    np.testing.assert_array_equal(opened.records.where("value < 1"), range(4))


def test_a_full_disk_at_any_moment_leaves_the_old_state(path, tmp_path):
    shutil.copytree(path, tmp_path / "copy")
    before = {*(p.name for p in path.iterdir()), manifest.LOCK}
    with mock.patch.object(os, "fsync") as sync:
        updates.add(tmp_path / "copy", *items(range(30, 50)))
    assert sync.call_count > 8
    # The last sync is that of the directory, after the manifest was replaced.
    for successes in range(sync.call_count - 1):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with (
            mock.patch.object(os, "fsync", side_effect=[None] * successes + [full] * 99),
            pytest.raises(OSError, match=rf"disk is full; free some space.*{path}") as error,
        ):
            updates.add(path, *items(range(30, 50)))
        assert error.value.errno == errno.ENOSPC
        assert_holds(path, range(30))
        assert {p.name for p in path.iterdir()} == before
    updates.add(path, *items(range(30, 50)))
    assert_holds(path, range(50))


def test_a_real_full_disk(tiny_disk):
    path = tiny_disk / "i"
    store.save(path, *items(range(30)), bits=BITS, model="m")
    long = [{"name": "x" * 1000, "value": float(i)} for i in range(200)]
    codes, features, _ = items(range(200))
    with pytest.raises(OSError, match=r"disk is full; free .*records-000001\.sqlite"):
        updates.add(path, codes, features, long)
    assert_holds(path, range(30))
    with pytest.raises(OSError, match=r"GB are needed.*free some space"):
        updates.add(path, *items(range(30, 3000)))
    with pytest.raises(OSError, match=r"disk is full; free .*/i'"):
        store.save(path, codes, features, long, bits=BITS, model="m")
    assert_holds(path, range(30))
    named = {entry["name"] for entry in manifest.named_files(manifest.read(path))}
    assert {file.name for file in path.iterdir()} == {*named, "manifest.json", "lock"}
    np.testing.assert_array_equal(updates.add(path, *items(range(30, 60))), range(30, 60))
    assert_holds(path, range(60))


def test_wrong_items_change_nothing(path):
    codes, features, records = items(range(3))
    before = (path / manifest.MANIFEST).read_bytes()
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
    with pytest.raises(errors.StoreError, match=r"'m'.*'other'"):
        updates.add(path, codes, features, records, model="other")
    assert (path / manifest.MANIFEST).read_bytes() == before
    assert_holds(path, range(30))


def hold(path, ready, release):
    with updates._writing(path, None):
        ready.set()
        release.wait(30)


def test_a_second_writer_is_refused(path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(path, ready, release))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(errors.StoreError, match="another program"):
        updates.add(path, *items([30]))
    with pytest.raises(errors.StoreError, match="another program"):
        store.save(path, *items([30]), bits=BITS, model="m")
    release.set()
    holder.join()
    updates.add(path, *items([30]))
    assert_holds(path, range(31))


def test_killed_writers_and_readers_during_changes():
    script = Path(kill_store.__file__)
    root = script.parents[2]
    run = subprocess.run(
        [sys.executable, script, "--kills", "12", "--changes", "25"],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert run.returncode == 0, run.stderr
    done, cut = map(int, re.findall(r"(\d+) changes .* (\d+) cut", run.stdout)[0])
    assert done > 0
    assert cut > 0
    reads, seen = map(int, re.findall(r"(\d+) reads saw (\d+) of", run.stdout)[0])
    assert reads >= seen > 2


def test_every_search_during_changes_sees_one_state(tmp_path):
    """A few reads; `read_store.py --reads 10000` is the complete test."""
    script = Path(kill_store.__file__).with_name("read_store.py")
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, script, "--reads", "100"],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert run.returncode == 0, run.stderr
    reads, seen = map(int, re.findall(r"(\d+) reads saw (\d+) states", run.stdout)[0])
    assert reads == 100
    assert seen > 1


def test_a_condition_has_the_same_meaning_in_every_shard(tmp_path):
    """A column that became real uses real division in shards that were written as integers too."""
    codes, features, _ = items(range(4))
    path = tmp_path / "w"
    store.save(path, codes, features, {"size": [1, 2, 3, 4]}, bits=BITS, model="", shard_rows=4)
    updates.add(path, codes[:2], features[:2], {"size": [3.0, 3.5]})
    assert store.load(path).records.where("size / 2 = 1.5").tolist() == [2, 4]


def test_an_emptied_index_keeps_its_columns(path):
    updates.remove(path, range(30))
    updates.compact(path)
    codes, features, _ = items(range(2))
    with pytest.raises(ValueError, match="records have the columns other"):
        updates.add(path, codes, features, {"other": ["a", "b"]})


def test_different_values_are_those_of_the_items_that_are_left(tmp_path):
    codes, features, _ = items(range(6))
    path = tmp_path / "d"
    names = {"scan": [*"aabbcc"]}
    store.save(path, codes, features, names, bits=BITS, model="", shard_rows=4, group="scan")
    updates.remove(path, [2, 3, 4])
    assert store.load(path).records.distinct("scan") == {"a", "c"}
