"""One XML file of the LIDC-IDRI: what each reader marked in a CT series.

A reader outlined nodules of 3 mm or more slice by slice and rated them, and marked smaller nodules
and other findings by a point. Nothing in a file says which marks of different readers are of one
nodule; `inres.lidc.nodules` finds that out.
"""

import dataclasses
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from typing import IO

SCALES = {
    "subtlety": ("subtlety", 5),
    "internalStructure": ("internal_structure", 4),
    "calcification": ("calcification", 6),
    "sphericity": ("sphericity", 5),
    "margin": ("margin", 5),
    "lobulation": ("lobulation", 5),
    "spiculation": ("spiculation", 5),
    "texture": ("texture", 5),
    "malignancy": ("malignancy", 5),
}
"""By element: the name of a rating in this program, and its largest value; the least is 1."""
RATINGS = tuple(name for name, _ in SCALES.values())
"""Names of the ratings, in the order of the files."""
SMALL, OTHER = "nodule under 3 mm", "no nodule"
"""Kinds of spots."""
_ROOT = "LidcReadMessage"
_WHOLE = re.compile(r"[+-]?[0-9]{1,9}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
MOST_PIXELS = 2048
"""Columns and rows of the largest slices; CT has 512, or 1,024 at most."""
MOST_POINTS = 5000
"""Most points of an outline; the LIDC's have up to 373."""


class ReadingError(ValueError):
    """A file cannot be read; the message names it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contour:
    """One outline in one slice."""

    z_mm: float
    """Position of the slice."""
    hole: bool
    """Whether the outline and all that it encloses are not part of the nodule."""
    points: tuple[tuple[int, int], ...]
    """Column and row of the pixels of the outline. That of a nodule lies just outside of it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mark:
    """A nodule of 3 mm or more as one reader marked it."""

    reader: int
    """From 0, in the order of the file."""
    name: str
    """The reader's name for it, not unique."""
    ratings: Mapping[str, int]
    """Known ratings by name."""
    contours: tuple[Contour, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spot:
    """A nodule under 3 mm, or something that is no nodule, as one reader marked it."""

    reader: int
    kind: str
    """`SMALL` or `OTHER`."""
    z_mm: float
    point: tuple[int, int]
    """Column and row."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """All readers' marks in one series. Two files with the same marks are equal."""

    name: str = dataclasses.field(compare=False)
    """The file."""
    series_uid: str
    readers: int
    """Number of readers, including those who marked nothing."""
    marks: tuple[Mark, ...]
    """In the order of the file."""
    spots: tuple[Spot, ...]
    notes: tuple[str, ...] = dataclasses.field(compare=False, default=())
    """Ratings outside their scales, which count as unknown, and nodules without an outline."""


def series_uid(file: IO[bytes], *, name: str) -> str:
    """SeriesInstanceUID of a file; empty for XML of another kind, such as readings of radiographs.

    Reads no further than the header of the file.

    Args:
      file: the file, open for reading.
      name: its name, for messages.

    Raises:
      ReadingError: not well-formed XML up to there, or no uid.
    """
    root = None
    try:
        for event, element in ET.iterparse(file, events=("start", "end")):
            root = element if root is None else root
            if _plain(root.tag) != _ROOT:
                return ""
            if event == "end" and _plain(element.tag) == "ResponseHeader":
                return _header_uid(_without_namespaces(root), name)
    except ReadingError:
        raise
    except _PARSER_ERRORS as error:
        raise _damaged(name, error) from None
    assert root is not None
    return _header_uid(_without_namespaces(root), name)


def read(file: IO[bytes], *, name: str) -> Reading:
    """What all readers marked in one series.

    Args:
      file: the file, open for reading.
      name: its name, for messages.

    Raises:
      ReadingError: not well-formed XML, not readings of a CT series, or a value is missing or
        cannot be read.
    """
    try:
        root = _without_namespaces(ET.parse(file).getroot())
    except _PARSER_ERRORS as error:
        raise _damaged(name, error) from None
    if root.tag != _ROOT:
        raise ReadingError(f"{name}: {root.tag}, not readings of a CT series ({_ROOT})")
    marks: list[Mark] = []
    spots: list[Spot] = []
    notes: list[str] = []
    sessions = root.findall("readingSession")
    if not sessions:
        raise ReadingError(f"{name}: no readingSession, so no reader; fetch the file again")
    for reader, session in enumerate(sessions):
        for nodule in session.findall("unblindedReadNodule"):
            contours = tuple(_contours(nodule, name))
            if not contours:
                notes.append(f"{name}: a nodule without an outline, left out")
            if all(len(contour.points) == 1 for contour in contours):
                spots += [
                    Spot(reader=reader, kind=SMALL, z_mm=c.z_mm, point=c.points[0])
                    for c in contours
                ]
                continue
            mark = Mark(
                reader=reader,
                name=(nodule.findtext("noduleID") or "").strip(),
                ratings=dict(_ratings(nodule, name, notes)),
                contours=contours,
            )
            marks.append(mark)
        for other in session.findall("nonNodule"):
            z_mm, point = _number(other, "imageZposition", name), _point(other.find("locus"), name)
            spots.append(Spot(reader=reader, kind=OTHER, z_mm=z_mm, point=point))
    return Reading(
        name=name,
        series_uid=_header_uid(root, name),
        readers=len(sessions),
        marks=tuple(marks),
        spots=tuple(spots),
        notes=tuple(notes),
    )


def _plain(tag: str) -> str:
    """The name of an element without its namespace."""
    return tag.rpartition("}")[2]


def _without_namespaces(root: ET.Element) -> ET.Element:
    for element in root.iter():
        if isinstance(element.tag, str):  # not a comment
            element.tag = _plain(element.tag)
    return root


_PARSER_ERRORS = (ET.ParseError, LookupError, ValueError)
"""What the parser raises on damaged files, and on encodings that it does not know."""


def _damaged(name: str, error: Exception) -> ReadingError:
    return ReadingError(f"{name}: not well-formed XML ({error}); fetch the file again")


def _header_uid(root: ET.Element, name: str) -> str:
    uid = (root.findtext("ResponseHeader/SeriesInstanceUid") or "").strip()
    if not uid:
        raise ReadingError(f"{name}: no SeriesInstanceUid in its header; fetch the file again")
    return uid


def _contours(nodule: ET.Element, name: str) -> Iterator[Contour]:
    for roi in nodule.findall("roi"):
        kind = (roi.findtext("inclusion") or "").strip().upper()
        if kind not in ("TRUE", "FALSE"):
            raise ReadingError(f"{name}: inclusion is {kind!r}, not TRUE or FALSE; correct it")
        points = tuple(_point(point, name) for point in roi.findall("edgeMap"))
        if len(points) > MOST_POINTS:
            raise ReadingError(
                f"{name}: an outline of {len(points)} points; the LIDC's have a few hundred; fetch "
                "the file again"
            )
        if points:
            z_mm = _number(roi, "imageZposition", name)
            yield Contour(z_mm=z_mm, hole=kind == "FALSE", points=points)


def _ratings(nodule: ET.Element, name: str, notes: list[str]) -> Iterator[tuple[str, int]]:
    """The known ratings; 0 and blank are unknown."""
    for tag, (rating, most) in SCALES.items():
        text = (nodule.findtext(f"characteristics/{tag}") or "").strip()
        if text and not _WHOLE.fullmatch(text):
            raise ReadingError(f"{name}: {tag} is {text[:40]!r}, not a whole number; correct it")
        value = int(text or 0)
        if 1 <= value <= most:
            yield rating, value
        elif value:
            notes.append(f"{name}: {tag} is {value}, outside 1 to {most}, taken as unknown")


def _point(element: ET.Element | None, name: str) -> tuple[int, int]:
    if element is None:
        raise ReadingError(f"{name}: a nonNodule without locus; correct or remove it")
    texts = (element.findtext("xCoord"), element.findtext("yCoord"))
    column, row = ((text or "").strip() for text in texts)
    if not (_WHOLE.fullmatch(column) and _WHOLE.fullmatch(row)):
        shown = [repr(text if text is None else text[:40]) for text in texts]
        raise ReadingError(
            f"{name}: xCoord {shown[0]} and yCoord {shown[1]}, not whole numbers; correct them"
        )
    if not (abs(int(column)) < MOST_PIXELS and abs(int(row)) < MOST_PIXELS):
        raise ReadingError(
            f"{name}: xCoord {column} and yCoord {row}, outside of any slice; correct them"
        )
    return int(column), int(row)


def _number(element: ET.Element, tag: str, name: str) -> float:
    text = (element.findtext(tag) or "").strip()
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ReadingError(f"{name}: {tag} is {text[:40]!r}, not a number; correct it")
    return value
