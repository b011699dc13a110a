"""Many queries from a table, searched one after the other."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from inres.archive import Archive
from inres.searching.hits import Hits
from inres.searching.image_text import image_paths, image_positions
from inres.system import files

KINDS = ("item", "image", "scan")
"""Columns of which each row fills one: what the query is."""
PLACES = ("x_mm", "y_mm", "z_mm", "slice")
"""Columns for rows with a scan: a place in mm (LPS), or the number of a slice."""
POSITIONS = ("z_mm", "slice_mm")
"""Columns for rows with several images: their positions in mm separated by commas, or their
distance."""


@dataclasses.dataclass(frozen=True)
class QueryRow:
    """One row of a table of queries."""

    where: str
    """File and line, for messages."""
    name: str
    values: Mapping[str, str]
    folder: Path
    """Paths in the table are relative to it."""

    def search(self, archive: Archive, options: Mapping[str, Any]) -> Hits:
        """Search for this query.

        Raises:
          ValueError, OSError: the row does not describe a query, or it cannot be read.
        """
        kind = self._kind()
        if kind == "item":
            return archive.search_item(int(self._number("item")), **options)
        if kind == "image":
            paths = image_paths(self.values["image"], self.folder)
            positions = image_positions(self.values, where=f"{self.where}: ")
            return archive.search_image(paths, **positions, **options)
        path = self.folder / self.values[kind]
        if self.values.get("slice"):
            return archive.search_scan(path, slice_index=int(self._number("slice")), **options)
        place = tuple(self._number(name) for name in PLACES[:3])
        return archive.search_scan(path, world_mm=place, **options)  # type: ignore[arg-type]

    def _kind(self) -> str:
        filled = [name for name in KINDS if self.values.get(name)]
        if len(filled) != 1:
            raise ValueError(
                f"{self.where}: fill in exactly one of {', '.join(KINDS)} "
                f"(filled: {', '.join(filled) or 'none'})"
            )
        placed = [name for name in PLACES if self.values.get(name)]
        misplaced = [name for name in placed if filled != ["image"] or name not in POSITIONS]
        if filled != ["scan"] and misplaced:
            names = ", ".join(misplaced)
            raise ValueError(f"{self.where}: {names} is a place in a scan; name the scan")
        if filled != ["image"] and self.values.get("slice_mm"):
            raise ValueError(f"{self.where}: slice_mm is the distance of images; name the images")
        if filled == ["scan"] and placed not in (["x_mm", "y_mm", "z_mm"], ["slice"]):
            raise ValueError(f"{self.where}: a scan needs either x_mm, y_mm and z_mm, or slice")
        return filled[0]

    def _number(self, name: str) -> float:
        value = files.number(self.values, name, where=self.where)
        if name in ("item", "slice") and value != int(value):
            raise ValueError(f"{self.where}: {name} is {self.values[name]}, not a whole number")
        return value


def read_queries(path: Path) -> list[QueryRow]:
    """The queries of a CSV table with some of the columns name, item, image, scan and `PLACES`.

    Raises:
      FileNotFoundError, ValueError: no such file, not a table, or it has none of these columns.
    """
    if path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "a pipe or device"
        raise ValueError(f"{path}: {what}, not a regular file; save the table as a CSV file")
    lines = files.read_csv_lines(path, ())
    if not lines:
        raise ValueError(f"{path}: no queries")
    if not set(KINDS) & set(lines[0][1]):
        raise ValueError(f"{path}: none of the columns {', '.join(KINDS)}; each row needs one")
    rows = []
    for line, row in lines:
        values = {name: text.strip() for name, text in row.items()}
        given = next((values[kind] for kind in KINDS if values.get(kind)), "")
        name = values.get("name") or image_paths(given, path.parent)[0].name
        rows.append(QueryRow(f"{path}: line {line}", name, values, path.parent))
    return rows


def search_rows(
    archive: Archive, rows: Iterable[QueryRow], options: Mapping[str, Any]
) -> Iterator[tuple[QueryRow, Hits | Exception]]:
    """Search for each query; a query that fails gives its error and does not stop the others."""
    for row in rows:
        try:
            yield row, row.search(archive, options)
        except (ValueError, OSError, RuntimeError) as error:
            yield row, error
