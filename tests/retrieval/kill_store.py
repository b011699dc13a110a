"""Kill a writer at random instants and look at what is left; by hand:

    PYTHONPATH=. python tests/retrieval/kill_store.py --kills 200

A child adds, removes and compacts; it says on a pipe what it begins and what is done. The parent
kills it (SIGKILL) and opens the index: everything acknowledged must be there, and nothing but,
save the one change under way, which may be there as a whole. Prints the counts.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from inres.retrieval import store, updates

BITS, DIMS = 40, 16


def items(ids):
    """Codes, features and records that follow from the ids."""
    ids = np.asarray(ids, np.int64)
    codes = np.stack([ids * 2654435761 % 2**32, ids % 256], axis=1).astype(np.uint32)
    features = (ids[:, None] * 0.5 + np.arange(DIMS)).astype(np.float32)
    return codes, features, [{"name": f"item {i}", "value": i * 0.25} for i in ids.tolist()]


def work(path, pipe, seed):
    """Change the index until killed."""
    rng = np.random.default_rng(seed)
    while True:
        opened = store.load(path)
        live, next_id = opened.ids, store.read_manifest(path)["next_id"]
        kind = rng.choice(["add", "add", "remove", "compact"])
        if kind == "add":
            changed = np.arange(next_id, next_id + rng.integers(1, 40))
        elif kind == "remove":
            changed = rng.choice(live, min(len(live), int(rng.integers(1, 30))), replace=False)
        else:
            changed = np.zeros(0, int)
        line = f"{kind} {','.join(map(str, changed.tolist()))}\n"
        os.write(pipe, b"begin " + line.encode())
        if kind == "add":
            updates.add(path, *items(changed))
        elif kind == "remove":
            updates.remove(path, changed)
        else:
            updates.compact(path)
        os.write(pipe, b"done " + line.encode())


def apply(state, line):
    """The set of ids after a change."""
    kind, _, changed = line.partition(" ")
    ids = {int(i) for i in changed.split(",") if i}
    return state | ids if kind == "add" else state - ids


def look(path, allowed):
    """Open the index, compare every array and record; give the allowed state it is in."""
    store.verify(path)
    opened = store.load(path)
    ids = opened.ids.tolist()
    codes, features, records = items(ids)
    np.testing.assert_array_equal(opened.codes, codes)
    np.testing.assert_array_equal(opened.features, features)
    assert [record for _, record in opened.records.all()] == records
    assert set(ids) in allowed, f"{len(ids)} items are neither the old state nor the new"
    return set(ids)


def run(path, kills, seed=0, longest_s=0.25):
    """Kill `kills` writers; give how many changes were acknowledged and how many cut short."""
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
        assert os.WIFSIGNALED(status), "the writer ended by itself"
        with os.fdopen(reading) as said:
            lines = said.read().splitlines()
        pending = None
        for line in lines:
            word, _, change = line.partition(" ")
            if word == "begin":
                pending = change
            else:
                state, pending, done = apply(state, change), None, done + 1
        cut += pending is not None
        allowed = [state] if pending is None else [state, apply(state, pending)]
        state = look(path, allowed)
    return done, cut


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        done, cut = run(Path(root) / "index", arguments.kills, arguments.seed)
    print(f"{arguments.kills} kills: {done} changes acknowledged, {cut} cut short, all consistent")


if __name__ == "__main__":
    sys.exit(main())
