"""Kill Dask workers, or the scheduler, at random moments while scans are prepared.

    PYTHONPATH=.:tests python tests/system/kill_cluster.py --kills 50 --scans 200

Small phantom scans are prepared once by this machine alone. Then a scheduler and three workers
prepare them while workers are killed (SIGKILL) and started again, until enough were killed; if the
scans are done before, they are prepared once more. At last the scheduler is killed, and the command
is run again with a new one. Every store must equal the first one byte for byte, and a scan's file
must not be written again once it is complete. Prints the counts.
"""

import argparse
import contextlib
import filecmp
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from inres.config import Config, Data, Items, Phantom
from inres.data.prepare import prepare
from inres.data.scans import PrepareError
from inres.phantoms.dataset import write_dataset

WORKERS = 3


def dask(*arguments):
    """A process of Dask's command line."""
    program = "import sys; from dask.__main__ import main; sys.exit(main())"
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def kill(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Cluster:
    """A scheduler and workers as processes that can be killed."""

    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        options = ("--port", port, "--host", "127.0.0.1", "--no-dashboard", "--no-show")
        self.scheduler = dask("scheduler", *options)
        self.workers = [self.start() for _ in range(WORKERS)]

    def start(self):
        options = ("--nthreads", 1, "--no-nanny", "--no-dashboard", "--death-timeout", 30)
        return dask("worker", self.address, *options)

    def kill_worker(self, rng):
        place = rng.randrange(WORKERS)
        kill(self.workers[place])
        self.workers[place] = self.start()

    def stop(self):
        for process in (*self.workers, self.scheduler):
            kill(process)


def quiet(steps, **_):
    return steps


def differences(first, second):
    """Names of files that differ between two folders."""
    names = [sorted(p.name for p in root.iterdir() if p.is_file()) for root in (first, second)]
    if names[0] != names[1]:
        return [*set(names[0]) ^ set(names[1])]
    return [n for n in names[0] if not filecmp.cmp(first / n, second / n, shallow=False)]


def settings(root, scheduler=""):
    items = Items(spacing_mm=2.5, canvas_mm=280.0, normals=20, size_px=32)
    return Config(data=Data(kind="phantom", root=str(root), scheduler=scheduler), items=items)


def run(root, out, cluster):
    prepare(settings(root, cluster.address), root=root, out=out, workers=1, progress=quiet)


class Watch:
    """Counts how often the file of a scan is written, by its inode."""

    def __init__(self, parts):
        self.parts, self.seen, self.again = parts, {}, 0
        self.end = threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()

    def _look(self):
        while not self.end.wait(0.05):
            for path in self.parts.glob("*.npz"):
                with contextlib.suppress(FileNotFoundError):
                    number = path.stat().st_ino
                    self.again += self.seen.setdefault(path.name, number) != number
                    self.seen[path.name] = number

    def stop(self):
        self.end.set()
        self.thread.join()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    kills = rounds = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "data")
        phantom = Phantom(scans=given.scans, matrix=128, extent_mm=80.0, subsets=10)
        write_dataset(root, phantom, seed=0, workers=os.cpu_count())
        alone = Path(folder, "alone")
        began = time.monotonic()
        prepare(settings(root), root=root, out=alone, workers=2, progress=quiet)
        print(f"alone: {given.scans} scans in {time.monotonic() - began:.0f} s", flush=True)
        cluster = Cluster()
        try:
            while kills < given.kills:
                out = Path(folder, f"round{rounds}")
                watch = Watch(out / "scans")
                work = threading.Thread(target=run, args=(root, out, cluster))
                work.start()
                while work.is_alive():
                    work.join(rng.uniform(0.2, 3.0))
                    if work.is_alive() and (out / "scans").is_dir() and kills < given.kills:
                        cluster.kill_worker(rng)
                        kills += 1
                watch.stop()
                rounds += 1
                found = differences(alone, out)
                assert not found, f"round {rounds}: {found} differ"
                assert not watch.again, f"round {rounds}: {watch.again} files written again"
                print(f"round {rounds}: {kills} workers killed, the store is equal", flush=True)
            out = Path(folder, "scheduler")
            error = []

            def interrupted():
                try:
                    run(root, out, cluster)
                except PrepareError as stopped:
                    error.append(str(stopped))

            work = threading.Thread(target=interrupted)
            work.start()
            while not len([*(out / "scans").glob("*.npz")]) > given.scans // 4:
                time.sleep(0.1)
            kill(cluster.scheduler)
            work.join()
            done = len([*(out / "scans").glob("*.npz")])
            cluster.stop()
            cluster = Cluster()
            watch = Watch(out / "scans")
            run(root, out, cluster)
            watch.stop()
            assert error, "the lost scheduler was not noticed"
            assert not differences(alone, out)
            assert not watch.again
            print(f"scheduler killed after {done} scans: {error[0]}; then the store is equal")
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
