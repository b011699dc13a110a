"""Numbers for the texts of the column by which items are grouped, such as their scans.

A search can hide one group. The number of a text never changes while the index has items with it.
It is looked up where it is stored: by the records' own index, and then in the array of numbers.
"""

from collections.abc import Sequence

import numpy as np

from inres.storage import records
from inres.storage.records import Value
from inres.storage.search_files import Searchable
from inres.storage.shards import Shard


def number_of(text: str, column: str, opened: Sequence[Searchable]) -> int:
    """The number of a text of `column`; -1 if it is blank or no item has it."""
    first = f'id = (SELECT id FROM records WHERE "{column}" = ? LIMIT 1)'
    for part in opened if text else ():
        found = part.shard.table.select(["id"], first, (text,))
        groups = part.segment.groups
        if found and groups is not None:
            return int(groups[part.place[np.searchsorted(part.shard.ids, found[0][0])]])
    return -1


def values_of(shard: Shard, column: str) -> list[Value]:
    """The values of a column by ascending id, those of removed items too."""
    ids: np.ndarray = shard.ids
    out: list[Value] = []
    for start in range(0, len(ids), records.BLOCK):
        part = ids[start : start + records.BLOCK]
        span = (int(part[0]), int(part[-1]))
        out += [value for (value,) in shard.table.select([column], "id BETWEEN ? AND ?", span)]
    return out


class Numbering:
    """Gives numbers to the texts of new shards, the same as in the shards that there are."""

    def __init__(
        self, column: str, next_number: int, kept: Sequence[Searchable], read: Sequence[Searchable]
    ) -> None:
        """`kept` are looked up for each new text; those of `read` are read as a whole."""
        self.next = next_number
        self._column, self._kept = column, kept
        self._known: dict[str, int] = {}
        for part in read:
            groups = part.groups_by_row()
            if groups is not None:
                texts = values_of(part.shard, column)
                pairs = zip(texts, groups.tolist(), strict=True)
                self._known |= {str(text): number for text, number in pairs if text}

    def of(self, shard: Shard) -> np.ndarray:
        """The numbers of a shard's rows, int32 [n]; -1 for blank texts."""
        return np.array(
            [self._number(str(text or "")) for text in values_of(shard, self._column)], np.int32
        )

    def _number(self, text: str) -> int:
        if not text:
            return -1
        if text not in self._known:
            number = number_of(text, self._column, self._kept)
            if number < 0:
                number, self.next = self.next, self.next + 1
            self._known[text] = number
        return self._known[text]
