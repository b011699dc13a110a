"""Benchmark of an opened archive: what it refuses, and what it reports."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.bench import archive as bench
from experiments.configs.bench_archive import get_config
from inres.config import ConfigError


class FakeArchive(SimpleNamespace):
    """Answers at once, and counts its queries."""

    item_count = 7

    def __len__(self):
        return 5

    def _count(self, *args, **options):
        self.calls.append((args, options))
        return SimpleNamespace(query=SimpleNamespace(image=np.zeros((8, 8), np.uint8)))

    search_scan = search_item = search_image = encode = _count


def test_every_kind_of_query_is_timed(tmp_path, monkeypatch, capsys):
    fake = FakeArchive(calls=[])
    monkeypatch.setattr(bench.Archive, "open", lambda root: fake)
    monkeypatch.setattr(bench, "_places", lambda scan, count, seed: [(0.0, 0.0, 0.0)] * count)
    config = get_config()
    config.scan, config.queries = "scan.mhd", 4
    bench.measure_archive(config, tmp_path)
    result = json.loads((tmp_path / "bench_archive.json").read_text(encoding="utf-8"))
    assert [row["query"] for row in result["queries"]] == [
        *("place in a scan", "item", "image", "the network alone")
    ]
    for row in result["queries"]:
        assert row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
    assert "5 items, opened in" in capsys.readouterr().out
    lines = (tmp_path / "bench_archive.md").read_text(encoding="utf-8").splitlines()
    assert lines[2:] == [
        f"| {' | '.join([row['query'], *(f'{row[key]:.1f}' for key in list(bench.COLUMNS)[1:])])} |"
        for row in result["queries"]
    ]


def test_an_archive_without_scans_needs_one(tmp_path):
    config = get_config()
    config.archive = str(tmp_path)
    with pytest.raises(ConfigError, match=r"config\.scan is empty.*name a scan"):
        bench.measure_archive(config, tmp_path)
