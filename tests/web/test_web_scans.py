"""Scans are read once, in the background, and few are kept in memory."""

import contextlib
import dataclasses
import gc
import io
import os
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image

from inres.archive import Archive
from inres.ct.header import ScanError
from inres.ct.scan import read_scan
from inres.web import scans

OPEN = Archive.open_scan
"""As it is without the changes of a test."""
READ = {}
"""Scans that were read before, by path: the tests are about when, not about what."""


class Readings:
    """Stands in for `Archive.open_scan`: counts reads, and can hold them at a step."""

    def __init__(self, monkeypatch):
        self.paths, self.scans = [], []
        self.go, self.ended = threading.Event(), threading.Event()
        self.go.set()
        readings = self

        def open_scan(archive, path, *, step, **more):
            readings.paths.append(path)
            try:
                step("held by the test", 0.25)
                while not readings.go.wait(0.01):
                    step("held by the test", 0.25)
                if path not in READ:
                    READ[path] = OPEN(archive, path, step=step, **more)
                scan = dataclasses.replace(READ[path])
            except BaseException:
                readings.ended.set()
                raise
            readings.scans.append(weakref.ref(scan))
            return scan

        monkeypatch.setattr(Archive, "open_scan", open_scan)

    def alive_at_most(self, count):
        alive = [scan for scan in self.scans if scan() is not None]
        if len(alive) > count:
            gc.collect()  # takes long, and is rarely needed
        return sum(scan() is not None for scan in alive) <= count


@pytest.fixture
def readings(monkeypatch):
    return Readings(monkeypatch)


def open_(client, path):
    answer = client.post("/api/scans", json={"root": "tree", "path": path})
    assert answer.status_code == 202
    return answer.json()["id"]


def test_a_scan_is_read_once_for_all_who_open_it(serve, readings):
    with serve() as client:
        readings.go.clear()
        ids = [open_(client, "subset0/b.mhd") for _ in range(3)]
        assert len(set(ids)) == 3
        for id_ in ids:
            state = client.get(f"/api/scans/{id_}").json()
            assert (state["state"], state["progress"]) == ("reading", 0.25)
            assert state["message"] == "held by the test"
            assert state["source"] == {"root": "tree", "path": "subset0/b.mhd"}
        readings.go.set()
        for id_ in ids:
            client.wait(id_)
        client.wait(open_(client, "subset0/b.mhd"))
        assert len(readings.paths) == 1
        assert client.delete(f"/api/scans/{ids[0]}").status_code == 204
        client.refused(404, "GET", f"/api/scans/{ids[0]}")
        assert client.get(f"/api/scans/{ids[1]}/slices/3.png").status_code == 200
        assert len(readings.paths) == 1


def test_memory_holds_few_scans_and_others_are_read_again(serve, readings):
    paths = ["subset2/a.mhd", "subset0/b.mhd", "subset0/c.mhd"]
    with serve(limits={"open_scans": 2}) as client:
        ids, every = {}, []
        for path in paths * 3:
            ids[path] = open_(client, path)
            every.append(ids[path])
            client.wait(ids[path])
            assert readings.alive_at_most(2)
        assert len(readings.paths) == 9
        client.get(f"/api/scans/{ids[paths[1]]}/slices/1.png")
        assert len(readings.paths) == 9  # it was in memory
        found = client.searched({"scan": ids[paths[0]], "world_mm": [-60, 0, 10]}, nearest=3)
        assert len(found["hits"]) == 3
        assert len(readings.paths) == 10  # it was not, and the least recently used one left
        client.get(f"/api/scans/{ids[paths[1]]}/slices/1.png")
        assert len(readings.paths) == 10
        assert readings.alive_at_most(2)
        for id_ in every:
            client.delete(f"/api/scans/{id_}")
        assert readings.alive_at_most(0)


@contextlib.contextmanager
def in_use(client, id_, monkeypatch):
    """Within this context, a search uses a scan."""
    begun, go, search_scan = threading.Event(), threading.Event(), Archive.search_scan

    def slow(archive, scan, **options):
        begun.set()
        assert go.wait(10)
        return search_scan(archive, scan, **options)

    monkeypatch.setattr(Archive, "search_scan", slow)
    statuses = []
    search = threading.Thread(target=lambda: statuses.append(search_in(client, id_).status_code))
    search.start()
    try:
        assert begun.wait(5)
        yield
    finally:
        go.set()
        search.join(10)
    assert statuses == [200]


def search_in(client, id_):
    body = {"query": {"scan": id_, "world_mm": [-60, 0, 10]}, "options": {"nearest": 3}}
    return client.post("/api/search", json=body)


@contextlib.contextmanager
def waiting_scan(client, monkeypatch):
    """The id of a scan that waits for the memory of two others, one of which a request uses."""
    first = open_(client, "subset2/a.mhd")
    client.wait(first)
    with in_use(client, first, monkeypatch):
        client.wait(open_(client, "subset0/b.mhd"))
        yield open_(client, "subset0/c.mhd")


def test_scans_that_requests_still_use_count(serve, readings, monkeypatch):
    """A search that waits keeps its scan, so that no further one is read meanwhile."""
    collected, collect = [], gc.collect
    monkeypatch.setattr(gc, "collect", lambda: collected.append(collect()))
    monkeypatch.setattr(scans, "_PAUSE_S", 0.01)
    with serve(limits={"open_scans": 1}) as client:
        with waiting_scan(client, monkeypatch) as third:
            for _ in range(20):
                state = client.get(f"/api/scans/{third}").json()
                time.sleep(0.01)
            assert (state["state"], state["message"]) == (
                "reading", "waiting for requests on other scans",
            )  # fmt: skip
            assert len(readings.paths) == 2
            assert len(collected) == 1  # others can work meanwhile
        client.wait(third)
        assert readings.alive_at_most(1)


def test_a_scan_that_was_refused_by_a_busy_server_is_read_later(serve, readings, monkeypatch):
    monkeypatch.setattr(scans, "_LONGEST_WAIT_S", 0.0)
    with serve(limits={"open_scans": 1}) as client:
        with waiting_scan(client, monkeypatch) as third:
            answer = search_in(client, third)
            assert (answer.status_code, answer.json()["error"]["message"]) == (
                503, "the server is busy; try again",
            )  # fmt: skip
        assert search_in(client, third).status_code == 200


def test_requests_wait_for_a_scan_that_is_read(serve, readings, archive, small):
    with serve() as client:
        readings.go.clear()
        id_ = open_(client, "subset0/b.mhd")
        answers = {}

        def ask(name, method, url, **body):
            answers[name] = client.request(method, url, **body)

        query = {"query": {"scan": id_, "world_mm": [-50, 0, 0]}, "options": {"nearest": 4}}
        asks = [
            threading.Thread(target=ask, args=("slice", "GET", f"/api/scans/{id_}/slices/9.png")),
            threading.Thread(
                target=ask, args=("search", "POST", "/api/search"), kwargs={"json": query}
            ),
        ]
        for one in asks:
            one.start()
        time.sleep(0.1)
        assert not answers
        readings.go.set()
        for one in asks:
            one.join()
        assert answers["slice"].headers["content-type"] == "image/png"
        (opened,) = (scan for path, scan in READ.items() if path.name == "b.mhd")
        hits = archive.search_scan(opened, world_mm=(-50, 0, 0), nearest=4)
        found = [hit["item"] for hit in answers["search"].json()["hits"]]
        assert found == [hit.record["item"] for hit in hits]


def test_closing_the_last_view_of_a_scan_ends_reading_it(serve, readings):
    with serve() as client:
        readings.go.clear()
        first, second = open_(client, "subset0/b.mhd"), open_(client, "subset0/b.mhd")
        client.delete(f"/api/scans/{first}")
        assert not readings.ended.wait(0.1)
        client.delete(f"/api/scans/{second}")
        assert readings.ended.wait(5)
        readings.go.set()
        assert not readings.scans


def test_a_request_that_waits_for_a_closed_scan_is_refused(serve, readings):
    with serve() as client:
        readings.go.clear()
        id_, answers = open_(client, "subset0/b.mhd"), []
        address = f"/api/scans/{id_}/slices/9.png"
        waiting = threading.Thread(target=lambda: answers.append(client.get(address)))
        waiting.start()
        scans = client.app._app._app.state.server.scans
        while not scans[id_].waiting:
            time.sleep(0.01)
        client.delete(f"/api/scans/{id_}")
        waiting.join(10)
        assert [answer.status_code for answer in answers] == [404]
        assert len(readings.paths) == 1


def test_a_busy_server_reads_a_scan_later(serve, readings):
    with serve(limits={"readers": 1, "scans": 1}) as client:
        readings.go.clear()
        for path in ("subset0/b.mhd", "subset0/c.mhd"):
            open_(client, path)
        body = {"root": "tree", "path": "subset2/a.mhd"}
        assert "busy" in client.refused(503, "POST", "/api/scans", json=body)
        readings.go.set()
        for _ in range(500):
            answer = client.post("/api/scans", json=body)
            if answer.status_code == 202:
                break
            time.sleep(0.01)
        client.wait(answer.json()["id"])


def test_other_files_are_no_scans(client, small):
    (small.root / "tree" / "notes.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    for path in ("notes.h5", "annotations.csv"):
        body = {"root": "tree", "path": path}
        assert f"{path}: not a scan" in client.refused(400, "POST", "/api/scans", json=body)


def test_a_read_that_nobody_asks_about_is_abandoned_and_begins_again(serve, readings):
    with serve(limits={"interest_s": 0.0}) as client:
        readings.go.clear()
        id_ = open_(client, "subset0/b.mhd")
        client.portal.call(client.app._app._app.state.server.scans.abandon_unwanted)
        assert readings.ended.wait(5)
        readings.go.set()
        client.wait(id_)
        assert len(readings.paths) == 2


def test_the_end_of_the_server_ends_reading(serve, readings):
    with serve() as client:
        readings.go.clear()
        open_(client, "subset0/b.mhd")
    assert readings.ended.wait(5)


def test_a_scan_whose_files_changed_is_read_again(serve, readings, small):
    tree = small.root / "tree"
    for path in (tree / "subset0").glob("b.*"):
        shutil.copy(path, tree)
    try:
        with serve() as client:
            for changed in (False, False, True):
                if changed:
                    os.utime(tree / "b.zraw", ns=(0, 0))
                client.wait(open_(client, "b.mhd"))
            assert len(readings.paths) == 2
    finally:
        for path in tree.glob("b.*"):
            path.unlink()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ScanError("{}/subset0/b.mhd: truncated; fetch it again"), "tree/subset0/b.mhd: truncated"),
        (MemoryError(), "not enough memory"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (KeyError("Doe^Jane"), "by an error of its own"),
    ],
)
def test_a_scan_that_cannot_be_read_says_why(serve, monkeypatch, small, error, message):
    if isinstance(error, ScanError):
        error = ScanError(str(error).format(small.root / "tree"))

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(Archive, "open_scan", fail)
    with serve() as client:
        id_ = open_(client, "subset0/b.mhd")
        state = client.wait(id_, "failed")
        assert state["error"]["message"].startswith(message) or message in state["error"]["message"]
        assert "Doe" not in state["error"]["message"]
        assert str(small.root) not in state["error"]["message"]
        assert client.refused(422, "GET", f"/api/scans/{id_}/slices/1.png")
        monkeypatch.setattr(Archive, "open_scan", OPEN)
        client.wait(open_(client, "subset0/b.mhd"))  # opening it again tries again


def test_forgotten_scans_are_those_used_least(serve):
    with serve(limits={"scans": 3}) as client:
        ids = [open_(client, f"subset0/{name}.mhd") for name in "bcb"]
        client.wait(ids[0])
        open_(client, "subset2/a.mhd")
        client.refused(404, "GET", f"/api/scans/{ids[1]}")
        for id_ in (ids[0], ids[2]):
            assert client.get(f"/api/scans/{id_}").status_code == 200


def test_an_archive_of_images_has_no_scans(serve, small, tmp_path):
    config = small.config
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, kind="folder"))
    images = Archive(dataclasses.replace(small, config=config))
    with serve(of=images) as client:
        assert client.get("/api/archive").json()["form"] == "images"
        body = {"root": "tree", "path": "subset0/b.mhd"}
        assert "images of a folder" in client.refused(400, "POST", "/api/scans", json=body)
        picture = io.BytesIO()
        Image.fromarray(np.asarray(small.open_store().slices[4])).save(picture, "PNG")
        (tmp_path / "a.png").write_bytes(picture.getvalue())
        files = {"file": ("a.png", picture.getvalue())}
        answer = client.post("/api/uploads", files=files).json()
        assert answer["kind"] == "image"
        found = client.searched({"image": answer["id"]}, nearest=4)["hits"]
        hits = images.search_image(tmp_path / "a.png", nearest=4)
        assert [hit["item"] for hit in found] == [hit.record["item"] for hit in hits]


def test_a_real_series_is_read_below_its_root(serve, real_data):
    root = real_data("lidc_dicom")
    with serve(roots={"lidc": root.resolve()}) as client:
        path = "LIDC-IDRI-0003"
        while True:
            entries = client.get("/api/files", params={"root": "lidc", "path": path}).json()
            (entry,) = (one for one in entries["entries"] if one["kind"] != "scan")
            path = entry["path"]
            if entry["kind"] == "series":
                break
        answer = client.post("/api/scans", json={"root": "lidc", "path": path})
        about = client.wait(answer.json()["id"])
        assert about["shape"] == [11, 512, 512]
        assert about["notes"] == ["padding set to -1024 HU in 613492 pixels"]
        volume = read_scan(root / path)
        z = volume.index_to_world(np.array([0, 0, 0]))[2]
        lowest = min(z, volume.index_to_world(np.array([10, 0, 0]))[2])
        assert about["index_to_world"][2][3] == pytest.approx(lowest)


def test_a_scan_opened_for_an_archive_of_other_items_is_refused(archive, small):
    """Its slices would be cut by other settings."""
    scan = archive.open_scan(next((small.root / "tree").glob("subset*/a.mhd")))
    items = dataclasses.replace(scan.cut.config, hu_min=-1000.0)
    other = dataclasses.replace(scan, cut=dataclasses.replace(scan.cut, config=items))
    with pytest.raises(ValueError, match=r"a\.mhd: opened for an archive of other items"):
        archive.search_scan(other, world_mm=(-60.0, 0.0, 10.0))
    assert len(archive.search_scan(scan, world_mm=(-60.0, 0.0, 10.0)))
