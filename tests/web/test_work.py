"""Many clients at once; work of clients that have gone; limits of what waits."""

import asyncio
import concurrent.futures
import json
import threading
import time

import numpy as np
import pytest
from web.load import OPTIONS, is_right

from inres.archive import Archive
from inres.storage import records
from inres.system import memory
from inres.web.answers import ApiError
from inres.web.work import Pool


def test_many_clients_get_the_answers_of_the_archive(client, archive, small):
    """`web/load.py` does this with a real server and thousands of queries."""
    scan = client.opened("subset2/a.mhd")
    opened = archive.open_scan(small.root / "tree/subset2/a.mhd")
    rng = np.random.default_rng(0)
    asked = []
    for number in range(60):
        options = OPTIONS[number % len(OPTIONS)]
        if number % 3:
            item = int(rng.integers(archive.item_count))
            query, hits = {"item": item}, archive.search_item(item, **options)
        else:
            place = [round(float(x), 1) for x in rng.uniform((-90, -40, -60), (90, 40, 60))]
            query = {"scan": scan, "world_mm": place}
            hits = archive.search_scan(opened, world_mm=tuple(place), **options)
        asked.append(({"query": query, "options": options}, hits))

    def right(question):
        body, hits = question
        return is_right(client.post("/api/search", json=body).json(), hits)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(right, asked * 2))


def request(client, body, gone):
    """A search on the client's event loop whose client goes when `gone` is set; its status."""
    content = json.dumps(body).encode()

    async def run():
        statuses, sent = [], []

        async def receive():
            if not sent:
                sent.append(True)
                return {"type": "http.request", "body": content, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            statuses.append(message.get("status"))

        scope = {
            **{"type": "http", "method": "POST", "path": "/api/search", "query_string": b""},
            **{"http_version": "1.1", "scheme": "http", "root_path": "", "raw_path": b""},
            "headers": [
                *((b"host", b"127.0.0.1:8080"), (b"content-type", b"application/json")),
            ],
        }
        await client.app(scope, receive, send)
        return statuses[0]

    return run


def test_a_query_whose_client_goes_before_it_has_begun_is_dropped(serve, monkeypatch):
    begun, go, searched = threading.Event(), threading.Event(), []
    search_item = Archive.search_item

    def slow(archive, item, **options):
        searched.append(item)
        begun.set()
        assert go.wait(10)
        return search_item(archive, item, **options)

    monkeypatch.setattr(Archive, "search_item", slow)
    with serve(limits={"threads": 1}) as client:
        gone = asyncio.Event()
        first = client.portal.start_task_soon(
            request(client, {"query": {"item": 1}}, asyncio.Event())
        )
        assert begun.wait(5)
        second = client.portal.start_task_soon(request(client, {"query": {"item": 2}}, gone))
        third = client.portal.start_task_soon(
            request(client, {"query": {"item": 3}}, asyncio.Event())
        )
        client.portal.call(asyncio.sleep, 0.05)
        client.portal.call(lambda: gone.set())
        assert second.result(5) == 499
        go.set()
        assert first.result(5) == third.result(5) == 200
    assert searched == [1, 3]


def test_more_work_than_may_wait_is_refused():
    async def run():
        pool, go = Pool("test", 1, 2), threading.Event()
        try:
            futures = [asyncio.wrap_future(pool.submit(lambda: go.wait(10))) for _ in range(3)]
            with pytest.raises(ApiError, match="busy"):
                pool.submit(lambda: None)
            go.set()
            assert await asyncio.gather(*futures) == [True] * 3
            assert await pool.run(lambda: 5) == 5
            with pytest.raises(KeyError):
                await pool.run(lambda: {}["x"])
            assert await pool.run(lambda: 6) == 6  # errors give their places back
        finally:
            go.set()
            pool.close()

    asyncio.run(run())


def test_exports_do_not_hold_up_pictures(serve, monkeypatch):
    begun, go = threading.Event(), threading.Event()

    def slow(*_):
        begun.set()
        assert go.wait(10)
        return b"a figure"

    monkeypatch.setattr("inres.web.searching._exported", slow)
    body = {"query": {"item": 1}}
    with serve(limits={"exports": 3}) as client, concurrent.futures.ThreadPoolExecutor(4) as pool:
        exports = [pool.submit(client.post, "/api/export", json=body) for _ in range(4)]
        assert begun.wait(5)
        assert client.get("/api/items/1/image.png").status_code == 200
        assert client.searched({"item": 1})["hits"]
        for _ in range(100):
            if not client.app._app._app.state.server.exporting._places.acquire(blocking=False):
                break
            client.app._app._app.state.server.exporting._places.release()
            time.sleep(0.01)
        assert "busy" in client.refused(503, "POST", "/api/export", json=body)
        go.set()
        assert [one.result().status_code for one in exports] == [200] * 4


def test_conditions_and_memory_are_limited(serve):
    limits = {"condition_s": -1.0, "unpacked_bytes": 1000}
    with serve(limits=limits) as client:
        server = client.app._app._app.state.server

        def tried():
            assert memory.available_bytes() == 1000
            rows = [(i, i) for i in range(30_000)]
            path = server.uploads._folder / "records.sqlite"
            records.write(path, {"size": "integer"}, [rows])
            table = records.Table(path)
            assert len(table.select(["size"])) == 30_000  # only conditions are limited
            table.where({"size": "integer"}, "size > 3", ())

        with pytest.raises(ApiError, match="takes too long"):
            server.call(tried)
