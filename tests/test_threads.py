"""Threads share an archive and an index: each gets the answers that it would get alone."""

import concurrent.futures
import itertools
import sys
import threading

import numpy as np
import pytest
from small_run import NAMES, make_items, make_run

from inres import archive
from inres.archive import Archive
from inres.data.properties import PropertyScale, table
from inres.retrieval import codes, index, native, search

THREADS = 16
OPTIONS = [
    {},
    {"threshold": 3, "k": 4},
    {"threshold": 17, "k": 60, "own_scan": True},
    {"nearest": 7},
    {"nearest": 30, "same_class": True},
    {"rank": "hamming", "k": 5},
    {"min_pool": 12, "k": 12},
    {"where": "diameter_mm > 10", "nearest": 20},
    {"where": "scan = 's3' OR scan = 's5'", "nearest": 9, "own_scan": True},
    {"weights": {"texture": 1, "margin": 2}},
    {"weights": {"lung_height": 1}, "own_scan": True, "k": 50},
    {"weights": {"margin": 1}, "where": "diameter_mm < 20"},
    {"distinct": "nodule", "nearest": 40},
    {"distinct": "scan", "weights": {"margin": 1}},
]


@pytest.fixture(autouse=True)
def frequent_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def small_run(root, seed):
    rows = make_items(np.random.default_rng(seed))
    root.mkdir()
    return make_run(root, rows, PropertyScale.of(NAMES, table(rows, NAMES)))


def answer(opened, item, options):
    hits = opened.search_item(item, **options)
    found = [(hit.record, hit.hamming, hit.distance, hit.properties) for hit in hits]
    return repr((found, hits.pool_size, hits.threshold, hits.query.scan, hits.query.properties))


def in_threads(work):
    """Run work(0), work(1), ... at the same time."""
    together = threading.Barrier(THREADS)

    def start(number):
        together.wait()
        work(number)

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(start, range(THREADS)))


def test_each_thread_gets_its_own_answers_of_an_archive(tmp_path):
    run = small_run(tmp_path / "run", 0)
    questions = list(itertools.product((1, 6, 55), OPTIONS))
    expected = [answer(Archive(run), *question) for question in questions]
    assert len(set(expected)) > len(questions) // 2
    shared = Archive(run)  # whose caches the threads fill

    def ask(number):
        for at in np.random.default_rng(number).permutation(len(questions)):
            assert answer(shared, *questions[at]) == expected[at], questions[at]

    in_threads(ask)


def test_a_search_sees_one_state_of_an_archive_that_changes(tmp_path, monkeypatch):
    runs = [small_run(tmp_path / "before", 0), small_run(tmp_path / "after", 1)]
    questions = [(item, options) for item in (1, 6) for options in OPTIONS[3:12]]
    expected = [{answer(Archive(run), *question) for run in runs} for question in questions]
    shared, states, seen = Archive(runs[0]), itertools.cycle([runs[1], runs[0]]), set()
    monkeypatch.setattr(archive, "renewed", lambda run: next(states))
    done = threading.Event()

    def change():
        while not done.wait(1e-3):
            shared._open_again()

    changing = threading.Thread(target=change)
    changing.start()

    def ask(number):
        for at in np.random.default_rng(number).permutation(len(questions)):
            found = answer(shared, *questions[at])
            assert found in expected[at], questions[at]
            seen.add(found)

    try:
        in_threads(ask)
    finally:
        done.set()
        changing.join()
    assert len(seen) > len(questions)  # both states


def test_each_thread_gets_its_own_answers_of_an_index(rng):
    n, bits, dims, q = 5000, 32, 6, 5
    centres = rng.random((8, bits)) < 0.5
    packed = codes.pack(centres[rng.integers(0, 8, n)] ^ (rng.random((n, bits)) < 0.05))
    features = rng.standard_normal((n, dims), dtype=np.float32)
    tags = {"groups": rng.integers(0, 9, n), "labels": rng.integers(0, 3, n)}
    questions = [
        {
            "k": 1 + number,
            "plan": native.PLANS[number % len(native.PLANS)],
            "workers": 1 + number % 3,
            "exclude_group": rng.integers(-1, 9, q) if number % 2 else None,
            "only_label": rng.integers(-1, 3, q) if number % 3 else None,
            **[{"threshold": number}, {"nearest": 9 * number + 1}][number % 5 == 4],
        }
        for number in range(THREADS)
    ]
    wanted = [rng.integers(0, n, q) for _ in questions]

    def ask_one(built, number):
        rows = wanted[number]
        found = search.search(built, packed[rows], features[rows], **questions[number])
        return [column.tolist() for column in found]

    def make():
        return index.build(packed, features, bits=bits, **tags)

    expected = [ask_one(make(), number) for number in range(THREADS)]
    shared = make()

    def ask(number):
        for _ in range(20):
            assert ask_one(shared, number) == expected[number]

    in_threads(ask)
