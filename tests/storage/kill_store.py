"""Kill writers of an index at random moments and check what they leave; read during changes.

    PYTHONPATH=. python tests/storage/kill_store.py --kills 200 --changes 300

A child process adds, removes and compacts, and reports on a pipe what it begins and finishes. The
parent kills it (SIGKILL) and opens the index. It must contain exactly the finished changes, and
optionally the unfinished one, as a whole. Then a child opens and reads the index repeatedly while
the parent changes it; it must see the states in order, each as a whole. Shards and blocks are tiny,
so that every change writes several. Prints the counts.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

from inres.storage import manifest, records, store, updates

BITS, DIMS = 40, 16
SHARD_ROWS, BLOCK = 16, 5


def items(ids):
    """Codes, features and records, all determined by the ids."""
    ids = np.asarray(ids, np.int64)
    codes = np.stack([ids * 2654435761 % 2**32, ids % 256], axis=1).astype(np.uint32)
    features = (ids[:, None] * 0.5 + np.arange(DIMS)).astype(np.float32)
    return codes, features, [{"name": f"item {i}", "value": i * 0.25} for i in ids.tolist()]


def make_change(path, kind, ids):
    """Add or remove the items `ids`, or compact."""
    if kind == "add":
        updates.add(path, *items(ids))
    elif kind == "remove":
        updates.remove(path, ids)
    else:
        updates.compact(path)


def work(path, pipe, seed):
    """Change the index until killed."""
    rng = np.random.default_rng(seed)
    while True:
        opened = store.load(path)
        live, next_id = opened.ids, manifest.read(path)["next_id"]
        kind = rng.choice(["add", "remove", "remove" if len(live) > 150 else "add", "compact"])
        if kind == "add":
            changed = np.arange(next_id, next_id + rng.integers(1, 70))
        elif kind == "remove":
            changed = rng.choice(live, min(len(live), int(rng.integers(1, 60))), replace=False)
        else:
            changed = np.zeros(0, int)
        line = f"{kind} {','.join(map(str, changed.tolist()))}\n"
        os.write(pipe, b"begin " + line.encode())
        make_change(path, kind, changed)
        os.write(pipe, b"done " + line.encode())


def apply(state, line):
    """The set of ids after a change."""
    kind, _, changed = line.partition(" ")
    ids = {int(i) for i in changed.split(",") if i}
    return state | ids if kind == "add" else state - ids


def check_index(path, allowed, pause_s=0.0):
    """Open the index and compare every array and record; returns which allowed state it has."""
    opened = store.load(path, verify=True)
    time.sleep(pause_s)
    ids = opened.ids.tolist()
    codes, features, expected = items(ids)
    np.testing.assert_array_equal(opened.codes, codes)
    np.testing.assert_array_equal(opened.features, features)
    assert [record for _, record in opened.records.all()] == expected
    assert opened.records.many(ids[::7]) == expected[::7]
    assert set(ids) in allowed, f"{len(ids)} items match no allowed state"
    return set(ids)


def run(path, kills, seed=0, longest_s=0.25):
    """Kill `kills` writers; returns the numbers of finished and of interrupted changes."""
    rng = np.random.default_rng(seed)
    store.save(path, *items(range(20)), bits=BITS, model="m")
    state, done, cut = set(range(20)), 0, 0
    for turn in range(kills):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                work(path, writing, seed * 1_000_003 + turn)
            finally:
                os._exit(1)
        os.close(writing)
        time.sleep(rng.random() * longest_s)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "the writer ended before it was killed"
        with os.fdopen(reading) as pipe:
            lines = pipe.read().splitlines()
        pending = None
        for line in lines:
            word, _, change = line.partition(" ")
            if word == "begin":
                pending = change
            else:
                state, pending, done = apply(state, change), None, done + 1
        cut += pending is not None
        allowed = [state] if pending is None else [state, apply(state, pending)]
        state = check_index(path, allowed)
    return done, cut


def read_during_changes(path, changes, seed=0):
    """Read the index in a child process while this one changes it; prints the number of states."""
    rng = np.random.default_rng(seed)
    store.save(path, *items(range(20)), bits=BITS, model="m")
    states, todo = [set(range(20))], []
    for _ in range(changes):
        next_id = max(states[-1] | {i for _, ids in todo for i in ids}) + 1
        kind = "add" if len(states[-1]) < 60 else rng.choice(["add", "remove", "compact"])
        if kind == "add":
            ids = range(next_id, next_id + int(rng.integers(1, 40)))
            states.append(states[-1] | set(ids))
        elif kind == "remove":
            ids = rng.choice(sorted(states[-1]), 40, replace=False).tolist()
            states.append(states[-1] - set(ids))
        else:
            ids = []
        todo.append((kind, ids))
    child = os.fork()
    if child == 0:
        try:
            seen = [0]
            while seen[-1] < len(states) - 1:
                seen.append(states.index(check_index(path, states, 0.01 * rng.random())))
                assert seen[-1] >= seen[-2], "saw an older state after a newer one"
            print(f"{len(seen) - 1} reads saw {len(set(seen))} of {len(states)} states, all whole")
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    for kind, ids in todo:
        make_change(path, kind, ids)
    _, status = os.waitpid(child, 0)
    assert status == 0, "the reader failed"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--changes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    store.SHARD_ROWS, records.BLOCK = SHARD_ROWS, BLOCK
    with tempfile.TemporaryDirectory() as root:
        done, cut = run(Path(root) / "index", arguments.kills, arguments.seed)
        print(f"{arguments.kills} kills: {done} changes acknowledged, {cut} cut short", flush=True)
        read_during_changes(Path(root) / "read", arguments.changes, arguments.seed)


if __name__ == "__main__":
    sys.exit(main())
