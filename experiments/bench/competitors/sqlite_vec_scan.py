"""sqlite-vec: exhaustive scan of bit vectors in SQLite."""

from typing import Any

import apsw
import numpy as np
import sqlite_vec

from experiments.bench.competitors.interface import Competitor, NotApplicable, octets

MOST_NEIGHBOURS = 4096
"""Limit of sqlite-vec for k."""


class SqliteVecScan(Competitor):
    """A `vec0` table in memory, one thread.

    Pools are searched as nearest neighbours with a limit of the distance; those too large for this
    by a function over an ordinary table, which is slower. SQLite comes with `apsw`, because
    Python's own is often built without extensions.
    """

    name = "sqlite-vec"
    distribution = "sqlite-vec"
    most_items = 1_000_000

    def __init__(self, codes: np.ndarray, bits: int, *, threads: int):
        super().__init__(codes, bits, threads=threads)
        self._database = apsw.Connection(":memory:")
        self._database.enable_load_extension(True)
        self._database.load_extension(sqlite_vec.loadable_path())
        width = 8 * self.octets.shape[1]
        self._ask(f"create virtual table nearest using vec0(code bit[{width}])")
        self._ask("create table plain(id integer primary key, code blob)")
        rows = [(i, row.tobytes()) for i, row in enumerate(self.octets)]
        with self._database:
            insert = self._database.executemany
            insert("insert into nearest(rowid, code) values(?, vec_bit(?))", rows)
            insert("insert into plain values(?, ?)", rows)

    def _ask(self, statement: str, *values: Any) -> list[Any]:
        return self._database.execute(statement, values).fetchall()

    def prepare_top_k(self, codes: np.ndarray, k: int) -> str:
        """There is nothing to choose.

        Raises:
          NotApplicable: k is above its limit.
        """
        if k > MOST_NEIGHBOURS:
            raise NotApplicable(f"k is limited to {MOST_NEIGHBOURS}")
        return ""

    def top_k(self, codes: np.ndarray, k: int) -> np.ndarray:
        """As in the base class."""
        statement = "select distance from nearest where code match vec_bit(?) and k = ?"
        queries = octets(codes, self.bits)
        return np.array([self._ask(statement, q.tobytes(), k) for q in queries], np.int32)[..., 0]

    def prepare_pools(self, codes: np.ndarray, threshold: int) -> str:
        """There is nothing to choose."""
        return ""

    def pools(self, codes: np.ndarray, threshold: int) -> list[np.ndarray]:
        """As in the base class."""
        return [self._pool(query.tobytes(), threshold) for query in octets(codes, self.bits)]

    def _pool(self, query: bytes, threshold: int) -> np.ndarray:
        nearest = "select rowid from nearest where code match vec_bit(?) and k = ? and distance < ?"
        found = self._ask(nearest, query, MOST_NEIGHBOURS, threshold)
        if len(found) == MOST_NEIGHBOURS:
            within = "vec_distance_hamming(vec_bit(code), vec_bit(?)) < ?"
            found = self._ask(f"select id from plain where {within}", query, threshold)
        return np.array(found, np.int64).reshape(-1)
