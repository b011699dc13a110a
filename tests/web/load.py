"""Many clients ask a server at once; every answer must be the archive's own.

    PYTHONPATH=.:tests python tests/web/load.py --archive runs/phantom --scans runs/phantom/scans

Starts `experiments.serve` in a process of its own, opens two of the scans, and has clients ask for
items and for places in these scans with various options, over connections that they keep. Every
answer is compared with that of the archive called directly in this process. Prints how many were
wrong, and the median and the 99th percentile of the time for an answer.

With --open=50, it instead opens so many scans one after the other, and prints the memory of the
server after each.
"""

import argparse
import http.client
import json
import math
import re
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import numpy as np

from inres.archive import Archive
from inres.ct import listing

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (
    {},
    {"k": 20, "min_pool": 30},
    {"nearest": 50, "same_class": True},
    {"rank": "hamming", "k": 5},
    {"nearest": 40, "where": "diameter_mm > 6"},
    {"nearest": 60, "distinct": "scan"},
    {"own_scan": True, "nearest": 12},
)


class Api:
    """A connection to the server."""

    def __init__(self, address):
        parts = urllib.parse.urlsplit(address)
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=300)

    def __call__(self, method, path, body=None):
        data = None if body is None else json.dumps(body)
        send = method, path, data, {"Content-Type": "application/json"}
        try:
            self._connection.request(*send)
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, BrokenPipeError):  # it was idle for long
            self._connection.close()
            self._connection.request(*send)
            answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status < 300, content
        return json.loads(content) if content else None


def places(opened, count, rng):
    """Random places in the lungs of a scan, x, y, z in mm."""
    inside = np.argwhere(opened.cut.mask)
    chosen = inside[rng.choice(len(inside), count)]
    return opened.cut.volume.index_to_world(chosen).round(2).tolist()


def questions(archive, api, paths, count, seed):
    """Queries and the answers that the archive gives when it is called directly."""
    rng = np.random.default_rng(seed)
    found = []
    for path in paths:
        opened = archive.open_scan(path)
        body = {"root": path.parents[0].name, "path": path.name}
        id_ = api("POST", "/api/scans", body)["id"]
        while api("GET", f"/api/scans/{id_}")["state"] == "reading":
            time.sleep(0.1)
        for world in places(opened, count // (2 * len(paths)), rng):
            options = OPTIONS[rng.integers(len(OPTIONS))]
            hits = archive.search_scan(opened, world_mm=tuple(world), **options)
            found.append(({"query": {"scan": id_, "world_mm": world}, "options": options}, hits))
    while len(found) < count:
        item, options = int(rng.integers(archive.item_count)), OPTIONS[rng.integers(len(OPTIONS))]
        hits = archive.search_item(item, **options)
        found.append(({"query": {"item": item}, "options": options}, hits))
    rng.shuffle(found)
    return found


def is_right(answer, hits):
    """Whether an answer of the server is that of the archive."""
    wanted = [
        (
            hit.rank,
            hit.record["item"],
            hit.hamming,
            hit.distance if math.isfinite(hit.distance) else None,
        )
        for hit in hits
    ]
    found = [(hit["rank"], hit["item"], hit["hamming"], hit["distance"]) for hit in answer["hits"]]
    return (found, answer["pool_size"], answer["threshold"]) == (
        wanted, hits.pool_size, hits.threshold,
    )  # fmt: skip


def ask_all(address, asked, clients):
    """Ask every question once, by so many clients; the seconds of each, and how many are wrong."""
    seconds, wrong, lock, left = [], [], threading.Lock(), iter(asked)

    def client():
        api = Api(address)
        while True:
            with lock:
                question = next(left, None)
            if question is None:
                return
            body, hits = question
            start = time.perf_counter()
            answer = api("POST", "/api/search", body)
            took = time.perf_counter() - start
            with lock:
                seconds.append(took)
                if not is_right(answer, hits):
                    wrong.append(body)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seconds, wrong


def resident_bytes(pid):
    """Memory of a process (Linux)."""
    text = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", text)[1])


def open_all(api, server, paths):
    """Open scans one after the other, search in each, and print the memory of the server."""
    for number, path in enumerate(paths, start=1):
        body = {"root": path.parents[0].name, "path": path.name}
        id_ = api("POST", "/api/scans", body)["id"]
        start = time.perf_counter()
        while (state := api("GET", f"/api/scans/{id_}"))["state"] == "reading":
            time.sleep(0.1)
        took = time.perf_counter() - start
        assert state["state"] == "ready", state
        k, i, j = (n // 2 for n in state["shape"])
        world = (np.array(state["index_to_world"]) @ [k, i, j, 1])[:3].tolist()
        api("POST", "/api/search", {"query": {"scan": id_, "world_mm": world}})
        shape = " x ".join(map(str, state["shape"]))
        print(
            f"{number}: {shape}, {took:.1f} s, {resident_bytes(server.pid) / 1e9:.2f} GB",
            flush=True,
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archive", required=True)
    parser.add_argument(
        "--scans", required=True, type=Path, help="a folder with scans, or a parent"
    )
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--open", type=int, default=0)
    arguments = parser.parse_args()
    every = [p for p in sorted(arguments.scans.rglob("*")) if listing.is_scan(p)]
    paths = every[: arguments.open or 2]
    flags = [f"--scans={folder}" for folder in {path.parent for path in paths}]
    command = [sys.executable, "-m", "experiments.serve", "--port=0", *flags]
    server = subprocess.Popen(
        [*command, f"--archive={arguments.archive}"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True,
    )  # fmt: skip
    try:
        address = re.match(r"open (\S+)", server.stdout.readline())[1]
        if arguments.open:
            open_all(Api(address), server, paths)
            return 0
        archive = Archive.open(arguments.archive)
        asked = questions(archive, Api(address), paths, arguments.queries, arguments.seed)
        ask_all(address, asked[:50], 4)  # compiles the programs
        start = time.perf_counter()
        seconds, wrong = ask_all(address, asked, arguments.clients)
        took = time.perf_counter() - start
    finally:
        server.kill()
    p50, p99 = (1e3 * np.quantile(seconds, share) for share in (0.5, 0.99))
    print(
        f"{len(seconds)} queries by {arguments.clients} clients in {took:.1f} s: {len(wrong)} "
        f"wrong, p50 {p50:.0f} ms, p99 {p99:.0f} ms"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
