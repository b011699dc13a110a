"""The layout of the LIDC-IDRI as TCIA provides it: DICOM series, and XML of four readers.

    LIDC-IDRI-0001/01-01-2000-NA-NA-30001/3000001.000000-NA-03192/1-001.dcm, ...
    LIDC-IDRI-0001/.../3000001.000000-NA-03192/001.xml      of every third scan
    tcia-lidc-xml/1/002.xml                                 of every third scan
    tcia-lidc-xml.zip with tcia-lidc-xml/2/003.xml          of all others, and of a radiograph

The last of nine scans is a second one of the patient before.
"""

import hashlib
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres.config import Phantom
from inres.phantoms import readers
from inres.phantoms.dicom_series import Series, uid_of, write_series
from inres.phantoms.layout import Layout
from inres.phantoms.plan import ScanPlan
from inres.phantoms.readers import OutlinedNodule, Point, Session
from inres.phantoms.scan import Scan
from inres.system import files

XML_DIR, ZIP, TEXT_DIR = "tcia-lidc-xml", "tcia-lidc-xml.zip", "readings"
_RADIOGRAPH = """<?xml version="1.0" encoding="UTF-8"?>
<IdriReadMessage uid="1.2.3" xmlns="http://www.nih.gov/idri">
<ResponseHeader><SeriesInstanceUID>1.2.3</SeriesInstanceUID></ResponseHeader>
</IdriReadMessage>
"""


def patient(plan: ScanPlan) -> str:
    """The patient of a scan."""
    return f"LIDC-IDRI-{plan.index + (plan.index % 9 != 8):04d}"


def series_folder(root: Path, plan: ScanPlan) -> Path:
    """The folder of a scan's slices, whose name contains no uid."""
    study = f"01-01-2000-NA-NA-{30001 + plan.index}"
    return root / patient(plan) / study / f"{3000001 + plan.index}.000000-NA-{plan.uid[-5:]}"


def xml_path(root: Path, plan: ScanPlan) -> Path:
    """The XML file of a scan; for the zip file it is written as text first."""
    name = f"{plan.index + 1:03d}.xml"
    beside, loose = series_folder(root, plan) / name, root / XML_DIR / "1" / name
    return (beside, loose, root / TEXT_DIR / f"{name}.txt")[plan.index % 3]


def scan_files(root: Path, plan: ScanPlan, config: Phantom) -> list[Path]:
    """The XML and the folder of the slices."""
    return [xml_path(root, plan), series_folder(root, plan)]


def write_scan(root: Path, plan: ScanPlan, scan: Scan, config: Phantom) -> None:
    """Write slices and XML."""
    series = Series(patient=patient(plan), series_uid=plan.uid, study_uid=uid_of(plan.uid, "study"))
    write_series(series_folder(root, plan), scan, series, name=_slice_name)
    seed = int(hashlib.sha256(plan.uid.encode()).hexdigest()[:8], 16)
    sessions = readers.read_scan(scan, np.random.default_rng(seed))
    files.write_text(xml_path(root, plan), _xml(scan, sessions))


def _slice_name(series: Series, number: int) -> str:
    return f"1-{number:03d}.dcm"


def write_tables(root: Path, plans: Sequence[ScanPlan]) -> None:
    """Write the zip file."""
    members = {f"{XML_DIR}/2/900.xml": _RADIOGRAPH}
    for plan in plans:
        path = xml_path(root, plan)
        if path.suffix == ".txt":
            members[f"{XML_DIR}/2/{path.stem}"] = path.read_text(encoding="utf-8")
    with files.atomic_path(root / ZIP) as part, zipfile.ZipFile(part, "w") as archive:
        for name, text in sorted(members.items()):
            entry = zipfile.ZipInfo(name)  # without the time, so that the file does not vary
            archive.writestr(entry, text, zipfile.ZIP_DEFLATED)


# XML


def _xml(scan: Scan, sessions: tuple[Session, ...]) -> str:
    root = ET.Element("LidcReadMessage", {"uid": f"{scan.uid}.9", "xmlns": "http://www.nih.gov"})
    header = ET.SubElement(root, "ResponseHeader")
    _add(header, "TaskDescription", "Second unblinded read")
    _add(header, "SeriesInstanceUid", scan.uid)
    _add(header, "StudyInstanceUID", uid_of(scan.uid, "study"))
    for reader, session in enumerate(sessions):
        element = ET.SubElement(root, "readingSession")
        _add(element, "servicingRadiologistID", "anon")
        for number, nodule in enumerate(session.nodules):
            _add_nodule(element, scan, nodule, _name(reader, number))
        for number, point in enumerate(session.points):
            _add_point(element, scan, point, _name(reader, 100 + number))
    ET.indent(root, space="")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _name(reader: int, number: int) -> str:
    """Every reader has another way to name nodules."""
    return (f"Nodule {number:03d}", f"IL057_{130000 + number}", str(number), f"MI014_{number}")[
        reader % 4
    ]


def _add_nodule(parent: ET.Element, scan: Scan, nodule: OutlinedNodule, name: str) -> None:
    element = ET.SubElement(parent, "unblindedReadNodule")
    _add(element, "noduleID", name)
    characteristics = ET.SubElement(element, "characteristics")
    for rating, value in nodule.ratings.items():
        _add(characteristics, rating, value)
    for outline in nodule.outlines:
        roi = ET.SubElement(element, "roi")
        _add_plane(roi, scan, outline.plane)
        _add(roi, "inclusion", "FALSE" if outline.hole else "TRUE")
        for column, row in outline.points.tolist():
            _add_place(ET.SubElement(roi, "edgeMap"), column, row)


def _add_point(parent: ET.Element, scan: Scan, point: Point, name: str) -> None:
    if point.nodule:
        element = ET.SubElement(parent, "unblindedReadNodule")
        _add(element, "noduleID", name)
        roi = ET.SubElement(element, "roi")
        _add_plane(roi, scan, point.plane)
        _add(roi, "inclusion", "TRUE")
        _add_place(ET.SubElement(roi, "edgeMap"), *point.point)
        return
    element = ET.SubElement(parent, "nonNodule")
    _add(element, "nonNoduleID", name)
    _add_plane(element, scan, point.plane)
    _add_place(ET.SubElement(element, "locus"), *point.point)


def _add_plane(parent: ET.Element, scan: Scan, plane: int) -> None:
    _add(parent, "imageZposition", f"{scan.origin[2] + plane * scan.spacing[2]:.6f}")
    _add(parent, "imageSOP_UID", uid_of(scan.uid, len(scan.hu) - plane))


def _add_place(parent: ET.Element, column: int, row: int) -> None:
    _add(parent, "xCoord", column)
    _add(parent, "yCoord", row)


def _add(parent: ET.Element, tag: str, value: object) -> None:
    ET.SubElement(parent, tag).text = str(value)


LIDC = Layout(
    scans="LIDC-IDRI-*/*/*/",
    scan_files=scan_files,
    write_scan=write_scan,
    tables=(ZIP,),
    write_tables=write_tables,
)
