"""Benchmark of the index on disk, on little data."""

import json

import pytest
from cli import call


@pytest.mark.e2e
def test_it_measures_every_step_and_type(tmp_path):
    sizes = ["--config.sizes=(1000,)", "--config.ranked_items=500", "--config.ranked_queries=5"]
    config = "--config=experiments/configs/bench_store.py"
    done = call("bench", config, f"--workdir={tmp_path}", *sizes)
    assert done.returncode == 0, done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"bench_store.json", "bench_store.md"}
    result = json.loads((tmp_path / "bench_store.json").read_text(encoding="utf-8"))
    lives = {row["dtype"]: row for row in result["storage"]}
    assert list(lives) == ["float32", "float16", "bfloat16"]
    for row in lives.values():
        assert row["items"] == 1000
        assert all(seconds > 0 for seconds in row["seconds"].values())
    header = 128
    assert [row["feature_bytes"] - header for row in lives.values()] == [1024000, 512000, 512000]
    assert len(result["rankings"]) == 6
    for row in result["rankings"]:
        if row["dtype"] == "float32":
            assert (row["set_differs"], row["overlap"], row["tau"]) == (0, 1, 1)
        else:
            assert 0.9 < row["overlap"] <= 1
    # Eight bits of mantissa change the order of a hundred neighbours.
    assert result["rankings"][-1]["order_differs"] == 1
    table = (tmp_path / "bench_store.md").read_text(encoding="utf-8")
    # A life, three searches on disk and two rankings.
    assert table.count("| bfloat16 |") == 6
