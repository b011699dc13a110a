"""Where the scans of an archive's items are on this machine."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from inres.system import files


@dataclasses.dataclass(frozen=True)
class Origin:
    """The scan of an item."""

    scan: str
    """Its name; empty where unknown."""
    path: Path | None
    """The file or folder that was read; None where it is unknown. It may have been moved since."""
    series_uid: str = ""
    """The DICOM series that was read; empty for other formats."""


def read_origins(tables: Iterable[Path]) -> dict[str, Origin]:
    """The origins by the name of the scan, of `scans.csv` of item stores and additions.

    A table that is not there, as of images of a folder, is left out.

    Raises:
      ValueError: a table is damaged; names it.
    """
    found = {}
    for table in tables:
        if not table.is_file():
            continue
        for row in files.read_csv(table, ("scan", "path", "series")):
            path = Path(row["path"]) if row["path"] else None
            found[row["scan"]] = Origin(row["scan"], path, row["series"])
    return found
