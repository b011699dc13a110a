"""Search an index in one process while another changes it; every read sees one state as a whole.

    PYTHONPATH=. python tests/storage/read_store.py --reads 10000

The writer adds five items, five more, removes the ten oldest and compacts, again and again. Items
are determined by their ids, so the ids of a state are consecutive, and every answer is known. The
reader opens the index, searches it and looks up records, and must see the states in order.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import kill_store
import numpy as np

from inres.retrieval import search
from inres.storage import records, store, updates

FIRST, STEP = 20, 5


def change(path, number):
    """Make the change `number` of the sequence."""
    newest, oldest = FIRST + 2 * STEP * (number // 4), 2 * STEP * (number // 4)
    if number % 4 < 2:
        start = newest + STEP * (number % 4)
        updates.add(path, *kill_store.items(range(start, start + STEP)))
    elif number % 4 == 2:
        updates.remove(path, range(oldest, oldest + 2 * STEP))
    else:
        updates.compact(path)


def state_of(ids):
    """The number of the state with these ids.

    Raises:
      AssertionError: there is no such state.
    """
    rounds, rest = divmod(ids[0], 2 * STEP)
    added = ids[-1] + 1 - FIRST - 2 * STEP * rounds
    assert (rest, added % STEP) == (0, 0), f"no state begins and ends with {ids}"
    assert 0 <= added <= 2 * STEP, f"no state has so many items: {ids}"
    assert ids == list(range(ids[0], ids[-1] + 1)), f"a mixture: {ids}"
    return 4 * rounds + added // STEP


def read(path):
    """Open and search the index; returns the number of the state that it has."""
    opened = store.load(path)
    wanted = int(opened.shards[-1].ids[-1])
    codes, features, _ = kill_store.items([wanted])
    found = search.search(
        opened.index, codes, features, k=100, threshold=kill_store.BITS + 1, workers=1
    )
    ids = found.ids[0][found.ids[0] >= 0]
    assert len(ids) == found.pool_size[0] == len(opened)
    order = np.lexsort((ids, abs(ids - wanted)))
    np.testing.assert_array_equal(order, np.arange(len(ids)))
    distance = abs(ids - wanted) * 0.5 * np.sqrt(kill_store.DIMS)
    np.testing.assert_allclose(found.distance[0, : len(ids)], distance, rtol=1e-6)
    difference = kill_store.items(ids)[0] ^ codes
    np.testing.assert_array_equal(found.hamming[0, : len(ids)], np.bitwise_count(difference).sum(1))
    assert opened.records.many(ids) == kill_store.items(ids)[2]
    return state_of(np.sort(ids).tolist())


def read_often(path, reads):
    """Read in this process; prints the number of states seen."""
    seen = [0]
    for _ in range(reads):
        seen.append(read(path))
        assert seen[-1] >= seen[-2], "saw an older state after a newer one"
    print(f"{reads} reads saw {len(set(seen))} states, up to state {seen[-1]}, all whole")


def run(path, reads):
    """Change the index until another process has read it `reads` times; returns its output.

    Raises:
      AssertionError: a read failed.
    """
    store.save(path, *kill_store.items(range(FIRST)), bits=kill_store.BITS, model="m")
    command = [sys.executable, __file__, "--path", str(path), "--reads", str(reads)]
    reader = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    )
    number = 0
    try:
        while reader.poll() is None:
            change(path, number)
            number += 1
        out, error = reader.communicate()
    finally:
        reader.kill()
    assert reader.returncode == 0, error
    return f"{out.strip()}; {number} changes"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--path", type=Path, help="only read the index here, as the child does")
    arguments = parser.parse_args()
    store.SHARD_ROWS, records.BLOCK = kill_store.SHARD_ROWS, kill_store.BLOCK
    if arguments.path:
        read_often(arguments.path, arguments.reads)
        return
    with tempfile.TemporaryDirectory() as root:
        print(run(Path(root) / "index", arguments.reads))


if __name__ == "__main__":
    sys.exit(main())
