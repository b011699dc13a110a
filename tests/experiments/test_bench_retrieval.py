"""Benchmark of the search against faiss, with few items."""

import json

import pytest

from experiments.bench import retrieval
from experiments.configs.bench_retrieval import get_config

pytestmark = pytest.mark.slow


@pytest.fixture
def config():
    config = get_config()
    config.run = ("scale",)
    sweep = config.sweeps.scale
    sweep.codes, sweep.sizes, sweep.queries = ("clustered-8", "trained"), (2000,), (1,)
    sweep.pools = (0.0, 40.0)
    config.rounds, config.round_seconds, config.single_queries = 3, 0.01, 20
    config.k = 10
    return config


def test_every_case_is_compared_and_reported(config, tmp_path, capsys):
    retrieval.compare_with_faiss(config, tmp_path)
    assert "trained codes are skipped" in capsys.readouterr().out
    rows = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))["rows"]
    cases = [row["case"] for row in rows]
    assert cases == ["hamming top-k", "two stages", "two stages", "single queries"]
    empty, small = rows[1:3]
    assert (empty["pool"], empty["threshold"]) == (0, 1)
    assert 40 <= small["pool"] < 2000 / 8
    for row in rows[:3]:
        assert row["ratio"] == pytest.approx(row["peer"]["ms"] / row["ours"]["ms"], rel=0.05)
    text = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert text.count("| clustered-8 | 2000 | 64 | 256 | 1 |") == 3
    assert (tmp_path / "bench.png").is_file()
    assert not (tmp_path / "features.npy").exists()


def test_a_case_that_takes_too_long_is_left_out_and_listed(config, tmp_path):
    config.longest_call_seconds = 0.0
    case = retrieval.Case(config, ("clustered-8", 2000, 64, 256), tmp_path)
    row = retrieval.two_stage_row(config, case, 1, 40.0)
    assert "the peer moves" in row["left_out"]
    assert "ratio" not in row
