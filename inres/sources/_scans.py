"""The files of scans, their headers, and whether findings lie inside them."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from inres.config import Data
from inres.ct.header import Header, ScanError, Vector
from inres.ct.scan import read_header
from inres.sources import Finding, Progress, SourceError
from inres.sources._problems import Problems
from inres.system.messages import short


def by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    """Files by their name without its ending, each in order."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(paths):
        found[path.stem].append(path)
    return dict(found)


def read_headers(
    root: Path,
    paths: Mapping[str, Sequence[Path]],
    data: Data,
    *,
    series: Mapping[str, str] | None = None,
    problems: Problems,
    messages: list[str],
    progress: Progress,
) -> dict[str, Header]:
    """The headers of all scans that are kept, in order of their names.

    Args:
      root: the data, for messages.
      paths: the scan or scans of each name, files or DICOM folders.
      data: scans with thicker slices than `max_thickness_mm` are left out, which is a message.
      series: which DICOM series a folder is read for, by name, where it may hold several.
      problems: gets names with several scans, and scans that cannot be read.

    Raises:
      SourceError: all scans are left out.
    """
    headers: dict[str, Header] = {}
    thick = []
    for name in progress(sorted(paths), name="read headers", total=len(paths), unit="scan"):
        header = _header(paths[name], (series or {}).get(name, ""), data.kernel, problems)
        if header is None:
            continue
        if 0 < data.max_thickness_mm < header.thickness_mm - 1e-3:
            thick.append(header.thickness_mm)
            continue
        headers[name] = header
    if thick:
        messages.append(
            f"{len(thick)} of {len(paths)} scans left out: slices thicker than "
            f"{data.max_thickness_mm:g} mm (up to {max(thick):g}); "
            "config.data.max_thickness_mm = 0 keeps them"
        )
    if not headers and not any(problems.values()):
        raise SourceError(f"{root}: no scan left. {' '.join(messages[-1:])}")
    return headers


def _header(places: Sequence[Path], series: str, kernel: str, problems: Problems) -> Header | None:
    """The header of a scan; None where it has a problem."""
    if len(places) > 1:
        problems["series found twice; remove one"].append(" and ".join(map(str, places)))
        return None
    try:
        return read_header(places[0], series_uid=series, kernel=kernel)
    except ScanError as error:
        problems["scans that cannot be read"].append(str(error))
        return None


def check_inside(
    findings: Iterable[Finding], header: Header, problems: Problems, *, table: str
) -> None:
    """Findings must lie inside their scan; `table` is where they can be corrected."""
    for finding in findings:
        if not header.contains(np.array(finding.world_mm)):
            problems[
                f"annotations outside their scan; correct {table} or the scan's header"
            ].append(outside(finding.name, finding.world_mm, header))


def outside(name: str, world_mm: Vector, header: Header) -> str:
    """A place that lies outside a scan, and the scan's extent."""
    corners = header.index_to_world(
        np.array([[-0.5, -0.5, -0.5], np.array(header.shape) - 0.5])  # opposite corners
    )
    low, high = corners.min(0), corners.max(0)
    return (
        f"{short(name)} at {place_text(world_mm)}; {header.path} reaches from "
        f"{place_text(tuple(low))} to {place_text(tuple(high))}"
    )


def place_text(world_mm: Vector) -> str:
    """A place as text."""
    texts = (f"{value:.2f}" if abs(value) < 1e6 else f"{value:g}" for value in world_mm)
    return f"({', '.join(texts)}) mm"


def absent_scans(counts: Mapping[str, int], here: Container[str], *, what: str) -> list[str]:
    """A message on findings whose scans are absent or misnamed, if there are any.

    Args:
      counts: number of findings of each scan.
      here: the scans that are there.
      what: the findings, for the message.
    """
    absent = [name for name in counts if name not in here]
    if not absent:
        return []
    lost, total = sum(counts[name] for name in absent), sum(counts.values())
    return [
        f"{lost} of {total} {what} left out: their {len(absent)} scans are not in this tree "
        f"(first: {short(absent[0])})"
    ]


def outside_message(
    findings: Mapping[str, Sequence[Finding]], headers: Mapping[str, Header], *, what: str
) -> list[str]:
    """A message on findings that lie outside their scan, if there are any.

    Args:
      findings: by scan.
      headers: of the scans.
      what: the findings, for the message.
    """
    inside = [
        (finding, header) for name, header in headers.items() for finding in findings.get(name, ())
    ]
    far = [(f, header) for f, header in inside if not header.contains(np.array(f.world_mm))]
    if not far:
        return []
    finding, header = far[0]
    return [
        f"{len(far)} of {len(inside)} {what} lie outside their scans, so that normal slices do not "
        f"avoid them (first: {outside(finding.name, finding.world_mm, header)})"
    ]
