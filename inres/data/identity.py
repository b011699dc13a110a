"""Which scans are the same, whatever their files are called and in which format they are.

A scan is known by its voxels: as HU, upright, with padding as air. They are the same in a copy, in
another format, and in DICOM with other UIDs. A SeriesInstanceUID alone says less, because
anonymised scans can share one.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from inres.system import files

COLUMNS = ("scan", "series", "digest")
"""Columns of a table of identities; others are ignored."""


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a scan is known by."""

    scan: str
    """Its name."""
    series: str
    """SeriesInstanceUID; empty where there is none."""
    digest: str
    """That of `digest_of`; empty where unknown, as of scans prepared by older versions."""


def digest_of(hu: np.ndarray) -> str:
    """SHA-256 (hex) of a scan's shape and voxels, int16 [Z, Y, X]: 0.2 s for 157 MB."""
    digest = hashlib.sha256(repr(hu.shape).encode())
    digest.update(np.ascontiguousarray(hu, "<i2").data)
    return digest.hexdigest()


def read(tables: Iterable[Path]) -> tuple[Identity, ...]:
    """The identities in tables such as `scans.csv` of item stores; those that exist.

    Raises:
      ValueError: a table is damaged; names it.
    """
    rows = [row for table in tables if table.is_file() for row in files.read_csv(table, ("scan",))]
    return tuple(Identity(*(row.get(name, "") for name in COLUMNS)) for row in rows)


def write(path: Path, scans: Iterable[Identity]) -> None:
    """Write a table of identities."""
    files.write_csv(path, COLUMNS, [vars(scan) for scan in scans])


def copies(new: Sequence[Identity], known: Iterable[Identity]) -> dict[str, str]:
    """The scans of `new` that are a known scan, or an earlier new one, by name; with that scan."""
    first = {scan.digest: scan.scan for scan in reversed([*known, *new]) if scan.digest}
    return {
        scan.scan: first[scan.digest]
        for scan in new
        if scan.digest and first[scan.digest] != scan.scan
    }


def sharing_a_series(new: Iterable[Identity], known: Iterable[Identity]) -> dict[str, str]:
    """The scans of `new` with the SeriesInstanceUID of a known scan, by name; with that scan.

    Archives such as LUNA16 name a scan by its series.
    """
    owners = {uid: scan.scan for scan in known for uid in (scan.scan, scan.series) if uid}
    return {
        scan.scan: owners[scan.series]
        for scan in new
        if scan.series in owners and owners[scan.series] != scan.scan
    }
