"""Benchmark of the search against other programs, with few items, and its report."""

import json
import time

import numpy as np
import pytest

from experiments.bench import contest, questions, retrieval, retrieval_plot, retrieval_report
from experiments.bench.competitors.faiss_flat import FaissFlat
from experiments.bench.questions import HammingQuestion
from experiments.bench.random_items import RandomItems
from experiments.bench.retrieval_case import Case, read_once
from experiments.configs.bench_retrieval import get_config
from inres.retrieval import search as search_lib
from inres.storage import store


@pytest.fixture
def config():
    config = get_config()
    config.run = ("scale",)
    sweep = config.sweeps.scale
    sweep.codes, sweep.sizes, sweep.queries = ("clustered-8", "trained"), (2000,), (1,)
    sweep.pools, sweep.dims = (0.0, 1.0, 40.0), (16,)
    config.competitors = ("faiss_flat", "faiss_shards", "faiss_multi_hash")
    config.rounds, config.round_seconds, config.single_queries = 3, 0.01, 20
    config.case_seconds, config.context_items = 0.1, 2000
    config.k = 10
    return config


@pytest.fixture
def workers(monkeypatch):
    """Both searches accept a number of threads, as far as the benchmark can tell."""
    if questions.with_workers(search_lib.search, 1) is not None:
        return
    search, hamming = search_lib.search, search_lib.search_hamming
    monkeypatch.setattr(search_lib, "search", lambda *a, workers=None, **k: search(*a, **k))
    monkeypatch.setattr(
        search_lib, "search_hamming", lambda *a, workers=None, **k: hamming(*a, **k)
    )


@pytest.mark.slow
def test_every_case_is_compared_and_reported(config, workers, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(contest, "thread_counts", lambda: {"one thread": 1, "all threads": 2})
    monkeypatch.setattr(questions.processes, "cores", lambda: 2)
    retrieval.compare_searches(config, tmp_path)
    assert "trained codes are skipped" in capsys.readouterr().out
    rows = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["rows"]
    cases = [row["case"] for row in rows[:5]]
    assert cases == ["hamming top-k", *(3 * ["two stages"]), "single queries"]
    empty, near, small = rows[1:4]
    assert (empty["pool"], empty["threshold"]) == (0, 1)
    assert near["pool"] >= 1
    assert near["threshold"] == 3
    assert 40 <= small["pool"] < 2000 / 8
    for row in rows[:4]:
        assert [*row["columns"]] == ["one thread", "all threads"]
        for column in row["columns"].values():
            least = min(rival["ms"] for rival in column["rivals"].values())
            assert column["ratio"] == pytest.approx(least / column["ours"]["ms"], rel=0.05)
            assert column["rivals"][column["fastest"]]["ms"] == least
        assert "one thread" in row["left_out"]["one thread"]["faiss IndexBinaryShards"]
    assert "read" in rows[0]["columns"]["one thread"]
    found = retrieval.points(config)
    assert retrieval.count_cases(config, found) == len(rows)
    others = [row["case"] for row in rows[5:]]
    assert any("RaBitQ" in case for case in others)
    assert all(0 < row["recall"] <= 1 for row in rows[5:])
    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "| clustered-8 | 2000 | 64 | 16 | 1 | two stages, pool of one item |" in text
    assert (tmp_path / "bench.png").is_file()
    assert not (tmp_path / "features.npy").exists()


@pytest.mark.slow
def test_a_case_that_takes_too_long_is_left_out_and_listed(config, tmp_path):
    config.longest_call_seconds = 0.0
    case = Case(config, ("clustered-8", 2000, 64, 16), tmp_path)
    row = retrieval.two_stage_row(config, case, 1, 40.0)
    reasons = row["left_out"]["all threads"]
    assert "it would move" in reasons["faiss IndexBinaryFlat"]
    assert "ratio" not in row["columns"]["all threads"]
    assert row["columns"]["all threads"]["ours"]["ms"] > 0


@pytest.mark.slow
def test_wrong_and_much_slower_competitors_are_left_out(config, tmp_path):
    class Wrong(FaissFlat):
        name = "wrong"

        def top_k(self, codes, k):
            return super().top_k(codes, k) + 1

    class Slow(FaissFlat):
        name = "slow"

        def top_k(self, codes, k):
            time.sleep(0.2)
            return super().top_k(codes, k)

    case = Case(config, ("clustered-8", 2000, 64, 16), tmp_path)
    question = HammingQuestion(case, case.query_codes[:2], 10)
    wrong = Wrong(case.codes, case.bits, threads=1)
    case.rivals = [case.rivals[0], wrong]
    measured = contest.measure(config, case, question)
    assert "wrong answer" in measured["left_out"]["all threads"]["wrong"]
    assert [*measured["columns"]["all threads"]["rivals"]] == ["faiss IndexBinaryFlat"]
    case.rivals, config.slow_seconds = [case.rivals[0], Slow(case.codes, case.bits, threads=1)], 0.0
    measured = contest.measure(config, case, question)
    assert "100 times as long as ours" in measured["left_out"]["all threads"]["slow"]
    case.rivals = [wrong]
    with pytest.raises(AssertionError):
        contest.measure(config, case, question)


def test_a_search_that_cannot_be_limited_has_no_column_for_one_thread(monkeypatch):
    monkeypatch.setattr(questions.processes, "cores", lambda: 4)

    def whole(k):
        return k

    def limited(k, workers=None):
        return k, workers

    assert questions.with_workers(whole, 1) is None
    assert questions.with_workers(whole, 4) is whole
    assert questions.with_workers(limited, 1)(5) == (5, 1)


def _times(ms, **more):
    return {"ms": ms, "disturbed": False, "rounds": 5, **more}


def _row(items, ours, flat, hashed, *, queries=1, **more):
    rivals = {
        "flat": _times(flat, settings=""),
        "hash": _times(hashed, settings="m = 4"),
    }
    fastest = min(rivals, key=lambda name: rivals[name]["ms"])
    column = {
        "threads": 2, "ours": _times(ours), "rivals": rivals, "fastest": fastest,
        "ratio": rivals[fastest]["ms"] / ours, "read": _times(0.5),
    }  # fmt: skip
    return {
        "sweep": "scale", "codes": "uniform", "items": items, "bits": 64, "dims": 8, "k": 10,
        "case": "two stages", "queries": queries, "wanted": 40.0, "pool": 38.4,
        "columns": {"all threads": column, "one thread": column},
        "left_out": {"all threads": {"tree": "too many items"}, "one thread": {}}, **more,
    }  # fmt: skip


ROWS = [_row(100, 1.0, 4.0, 3.0), _row(1000, 2.0, 8.0, 1.0), _row(1000, 2.0, 8.0, 6.0, wanted=0.01)]


def test_losses_are_named_and_counted():
    _, lines = retrieval_report.summary(ROWS)
    assert lines[0] == ("all threads", 3, 1, "0.5", "3")
    text = retrieval_report.losses(ROWS)
    lost = [line for line in text.splitlines() if line.startswith("- ")]
    assert len(lost) == 2  # one for each number of threads
    assert lost[0].startswith("- 0.5: hash, uniform, 1000 items")
    assert "pool of 40, all threads" in lost[0]
    assert "- none" in retrieval_report.losses(ROWS[:1])


def test_tables_have_every_case_and_program():
    text = retrieval_report.tables_of(ROWS)
    point = "| uniform | 1000 | 64 | 8 | 1 | two stages, pool of"
    assert f"{point} 40 | 38 | 2 | hash | 1 | 0.5 |" in text
    assert f"{point} 1 % | 2 | 8 | 6 (m = 4) | 0.5 |" in text
    assert "| tree | all threads | too many items | 3 |" in text
    head, lines = retrieval_report.overview(ROWS, "one thread")
    assert head[-2:] == ("pool of 40", "pool of 1 %")
    assert ("uniform", 1000, 64, 8, 1, "2 (0.5)", "2 (3)") in lines
    head, lines = retrieval_report.growth(ROWS)
    assert head[-2:] == ("1e+02", "1e+03")
    assert ("uniform", "two stages, pool of 40", "1", "2") in lines


def test_names_of_pools():
    names = [retrieval_report.pool_name(wanted) for wanted in (0.0, 1.0, 40.0, 0.01)]
    assert names == ["empty pool", "pool of one item", "pool of 40", "pool of 1 %"]


def test_the_figure_has_a_panel_for_each_case_and_batch(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(retrieval_plot.style, "save", lambda figure, _: shown.append(figure))
    retrieval_plot.plot([*ROWS, _row(100, 1.0, 2.0, 3.0, queries=64)], tmp_path / "bench")
    panels = shown[0].axes
    assert len(panels) == 4
    lines = {line.get_label(): line.get_xydata().tolist() for line in panels[0].lines}
    assert lines["inres, uniform"] == [[100, 1.0], [1000, 2.0]]
    assert lines["fastest competitor, uniform"] == [[100, 3.0], [1000, 1.0]]
    assert lines["reading the codes once"] == [[100, 0.5], [1000, 0.5]]


def test_the_codes_are_read_in_whole():
    codes = np.arange(14, dtype=np.uint32).reshape(7, 2)
    total = codes.reshape(-1).view(np.uint64).sum()
    assert read_once(codes, 1)() == total
    assert sum(read_once(codes, 3)()) == total


def test_trained_items_take_bits_and_first_features_of_an_index(tmp_path):
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.integers(0, 2**12, 5, np.uint32), 4)[:, None]
    features = rng.standard_normal((20, 6), dtype=np.float32)
    path = tmp_path / "archive"
    store.save(path, codes, features, {"name": [*"abcdefghijklmnopqrst"]}, bits=12, model="m")
    items = RandomItems("trained", 300, bits=64, dims=4, seed=0, trained=str(path))
    items.sort()
    assert (items.bits, items.dims) == (12, 4)
    assert (np.diff(items.codes[:, 0].astype(int)) >= 0).all()
    assert np.isin(items.codes, codes).mean() > 0.8  # few bits are flipped
    rows = np.concatenate(list(items.features()))
    nearest = np.linalg.norm(rows[:, None] - features[None, :, :4], axis=2).min(axis=1)
    assert nearest.mean() < 0.5
