"""The files of a shard that let a search begin at once: its items sorted by code.

They hold a `retrieval.segment.Segment` whose features stay where they are, in the order of ids. The
shard's other files do not depend on them, and they can be made from those at any time.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from inres.retrieval import codes as codes_lib
from inres.retrieval import segment
from inres.retrieval import sketch as sketch_lib
from inres.retrieval.buckets import Buckets
from inres.retrieval.segment import Directory, Segment
from inres.retrieval.sketch import Sketch
from inres.retrieval.tiling import TILE
from inres.storage import arrays
from inres.storage.shards import Shard

FORMS = {
    "order": "<i4", "place": "<i4", "walk": "<i4", "directory": "<u4", "starts": "<i4",
    "tables": "<u4", "buckets": "<u4", "sketch": "|i1", "centre": "<f4", "spread": "<f4",
    "slack": "<f4", "groups": "<i4", "labels": "<i4",
}  # fmt: skip
"""The parts and their types on disk. `starts` is left out where all codes differ, `groups` and
`labels` where the index has none."""


def write(
    root: Path, serial: int, shard: Shard, *, bits: int, groups: np.ndarray | None,
    labels: np.ndarray | None,
) -> dict[str, Any]:  # fmt: skip
    """Write the files for the search of a shard, each atomically.

    Codes and ids of the shard are held in memory; features are read in blocks.

    Args:
      root: directory of the index.
      serial: number in the file names.
      shard: its other files, opened.
      bits: code length.
      groups: int32 [n], -1: none; None: no groups.
      labels: int32 [n], 0 or more; None: no labels.

    Returns:
      What the manifest says of them: their entries by part as `files`, and their shapes.
    """
    codes, ids = np.asarray(shard.codes), np.asarray(shard.ids)
    n, dims = shard.features.shape
    order = codes_lib.sort(codes, ids).astype(np.int32)
    place = np.empty(n, np.int32)
    place[order] = np.arange(n, dtype=np.int32)
    made = segment.make_directory(codes[order], bits)
    small: dict[str, np.ndarray | None] = {
        "order": order,
        "place": place,
        "walk": ids[order],
        "directory": made.codes,
        "starts": made.starts,
        "tables": made.buckets.tables,
        "buckets": made.buckets.rows,
        "groups": None if groups is None else groups[order],
        "labels": None if labels is None else labels[order],
    }
    sketch = sketch_lib.empty(0, dims)
    centre, spread, slack = [sketch.centre], [np.empty((2, 0), np.float32)], [sketch.slack]

    def sketched() -> Iterator[np.ndarray]:
        for rows in segment.sorted_rows(shard.features, order):
            found = sketch_lib.of_rows(rows)
            centre.append(found.centre)
            spread.append(np.stack([found.scale, found.norm]))
            slack.append(found.slack)
            yield found.codes

    def path(part: str) -> Path:
        return root / f"{part}-{serial:06d}.npy"

    entries = {"sketch": arrays.write(path("sketch"), (n, dims), FORMS["sketch"], sketched())}
    small |= {
        "centre": np.concatenate(centre),
        "spread": np.concatenate(spread, axis=1),
        "slack": np.concatenate(slack),
    }
    for part, array in small.items():
        if array is not None:
            entries[part] = arrays.write(path(part), array.shape, FORMS[part], [array])
    return {
        "files": entries,
        "distinct": made.count,
        "width": made.buckets.width,
        "substrings": len(made.buckets.tables),
    }


def are_complete(entry: Mapping[str, Any]) -> bool:
    """Whether a shard in the manifest has these files."""
    return "order" in entry["files"]


@dataclasses.dataclass(frozen=True)
class Searchable:
    """A shard with its files for the search, memory-mapped."""

    shard: Shard
    segment: Segment
    """Removed items are hidden in it."""
    place: np.ndarray
    """int32 [n], the position in the segment of each row of the shard."""

    def groups_by_row(self) -> np.ndarray | None:
        """The groups of the shard's rows, int32 [n]."""
        found = self.segment.groups
        return None if found is None else found[self.place]


def open_files(
    root: Path, entry: Mapping[str, Any], manifest: Mapping[str, Any], shard: Shard
) -> Searchable:
    """Open the files of a shard for the search, without reading them.

    Raises:
      StoreError: a file is missing or does not match the manifest; names the file.
    """
    n, dims, bits = entry["count"], manifest["dims"], manifest["bits"]
    tiles, words = -(-n // TILE), codes_lib.words(bits)

    def opened(part: str, *shape: int) -> np.ndarray:
        return arrays.open_array(root, entry["files"][part], shape, FORMS[part])

    def optional(part: str, *shape: int) -> np.ndarray | None:
        return opened(part, *shape) if part in entry["files"] else None

    distinct, width, count = entry["distinct"], entry["width"], entry["substrings"]
    found = Buckets(
        width,
        opened("tables", count, (1 << width) + 1 if count else 0),
        opened("buckets", max(0, count - 1), distinct),
    )
    starts = optional("starts", distinct + 1)
    spread = opened("spread", 2, n)
    made = Segment(
        Directory(opened("directory", -(-distinct // segment.CHUNK), words, segment.CHUNK),
                  distinct, starts, found),
        opened("walk", n),
        shard.features,
        Sketch(
            opened("sketch", n, dims), opened("centre", tiles, dims), spread[0], spread[1],
            opened("slack", tiles),
        ),
        optional("groups", n),
        optional("labels", n),
        opened("order", n),
    )  # fmt: skip
    place = opened("place", n)
    if len(shard.removed):
        hidden = np.zeros(-(-n // 8), np.uint8)
        at = place[np.searchsorted(shard.ids, shard.removed)]
        np.bitwise_or.at(hidden, at // 8, (1 << (at % 8)).astype(np.uint8))
        made = dataclasses.replace(made, hidden=hidden)
    return Searchable(shard, made, place)
