"""Fixtures of the storage tests."""

import kill_store
import pytest

from inres.storage import records, store


@pytest.fixture
def path(tmp_path, monkeypatch):
    """An index of 30 items in small shards and blocks."""
    monkeypatch.setattr(store, "SHARD_ROWS", 16)
    monkeypatch.setattr(records, "BLOCK", 5)
    rows = kill_store.items(range(30))
    store.save(tmp_path / "index", *rows, bits=kill_store.BITS, model="m", shard_rows=16)
    return tmp_path / "index"
