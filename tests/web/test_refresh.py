"""The server sees what other programs add to the archive and remove from it."""

import dataclasses
import shutil
import threading

import numpy as np
import pytest

from inres import archive as archive_lib
from inres.archive import Archive
from inres.data.items import Item
from inres.pipeline import growing
from inres.storage import manifest, store, updates


@pytest.fixture
def own(small, tmp_path):
    """The small archive in a folder of its own, as this and another program open it."""
    shutil.copytree(small.root / "archive", tmp_path / "archive")
    made = dataclasses.replace(small, stored=store.load(tmp_path / "archive"))
    return Archive(made), dataclasses.replace(made, stored=store.load(tmp_path / "archive"))


def add(run, scan, count=1):
    """Add the first items of the run once more, as those of another scan."""
    rows = np.arange(count)
    items = [Item("", scan=scan, nodule=f"n{row}", label=3, diameter_mm=7.0) for row in rows]
    growing.append(run, items, np.asarray(run.images)[rows], run.layers[0].rows(rows))


def found(client, **options):
    answer = client.searched({"item": 3}, nearest=99, k=99, own_scan=True, **options)
    return [hit["item"] for hit in answer["hits"]]


def test_items_that_others_add_and_remove_are_seen(serve, own):
    archive, other = own
    with serve(of=archive) as client:
        assert sorted(found(client)) == list(range(1, 12))
        encoders = archive._run.encoders
        add(other, "new", 2)
        assert sorted(found(client)) == list(range(1, 14))
        assert client.get("/api/archive").json()["archived"] == 13
        about = client.get("/api/items/13").json()
        assert (about["record"]["scan"], about["archived"]) == ("new", True)
        np.testing.assert_array_equal(archive.image(13), other.images[1])
        hits = client.searched({"item": 13}, nearest=99, k=99, own_scan=True)["hits"]
        assert {hit["item"]: hit["distance"] for hit in hits}[13] == 0
        updates.remove(other.stored.path, store.load(other.stored.path).records.where("scan = 'a'"))
        left = client.get("/api/records", params={"where": "scan = 'a'"}).json()
        assert left["count"] == 0
        add(dataclasses.replace(other, stored=store.load(other.stored.path)), "newer")
        assert 14 in found(client)
        # The network was not loaded again, nor its programs compiled.
        assert archive._run.encoders is encoders


def test_a_search_that_runs_keeps_the_former_state(serve, own, monkeypatch):
    archive, other = own
    begun, go, rank = threading.Event(), threading.Event(), Archive._rank

    def slow(self, *given):
        if not begun.is_set():
            begun.set()
            assert go.wait(10)
        return rank(self, *given)

    monkeypatch.setattr(Archive, "_rank", slow)
    with serve(of=archive) as client:
        answers = []
        running = threading.Thread(target=lambda: answers.append(found(client)))
        running.start()
        assert begun.wait(5)
        updates.remove(other.stored.path, [0, 1, 2])
        assert sorted(found(client)) == list(range(4, 12))
        go.set()
        running.join()
        assert sorted(answers[0]) == list(range(1, 12))


def test_a_query_looks_at_one_file(serve, own, monkeypatch):
    archive, _ = own
    looks, stamp = [], manifest.stamp
    with serve(of=archive) as client:
        found(client)
        monkeypatch.setattr(manifest, "stamp", lambda root: looks.append(root) or stamp(root))
        for _ in range(5):
            found(client)
    assert len(looks) == 5


def test_a_state_that_cannot_be_opened_is_left_aside(serve, own, caplog):
    archive, other = own
    path = other.stored.path
    with serve(of=archive) as client:
        before = found(client)
        whole = (path / "manifest.json").read_bytes()
        (path / "manifest.json").write_text("{}")
        assert found(client) == found(client) == before
        assert sum("StoreError" in record.getMessage() for record in caplog.records) == 1
        (path / "manifest.json").unlink()
        (path / "manifest.json").write_bytes(whole)
        add(other, "new")
        assert 12 in found(client)


def test_an_archive_of_another_network_is_not_mixed_in(own):
    archive, other = own
    changed = manifest.read(other.stored.path) | {"model": "another"}
    manifest.write(other.stored.path, changed)
    with pytest.raises(ValueError, match="made again by another network; open the run again"):
        archive.refresh()
    assert archive.refresh() is False
    assert len(archive) == 11


def test_a_slow_refresh_does_not_undo_a_removal(own, monkeypatch):
    """It may have read a state from before."""
    archive, other = own
    begun, go, renewed = threading.Event(), threading.Event(), archive_lib.renewed

    def slow(run):
        found = renewed(run)
        if not begun.is_set():
            begun.set()
            go.wait(0.3)
        return found

    monkeypatch.setattr(archive_lib, "renewed", slow)
    add(other, "new")
    refresh = threading.Thread(target=archive.refresh)
    refresh.start()
    assert begun.wait(5)
    archive.remove("scan = 'a'")
    go.set()
    refresh.join()
    assert archive.find("scan = 'a'")[0] == 0


def test_a_removal_is_from_the_archive_as_it_is_on_disk(own):
    archive, other = own
    add(other, "new")
    updates.remove(other.stored.path, [0])  # item 1
    assert archive.remove("scan = 'new' OR item = 1") == 1
    assert [record["item"] for record in archive.find()[1]] == [*range(2, 12)]
