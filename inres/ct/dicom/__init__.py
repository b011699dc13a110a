"""CT in DICOM: the series in a folder, and one of them as a scan.

series_of(folder)         what is there, without reading pixels
open_stack(folder)        the slices of one series, their grid, and what was decided
read_stack(stack)         its HU
"""

from pathlib import Path

from inres.ct.dicom.choice import choose
from inres.ct.dicom.folder import Found, folders_below, read_files, read_folder
from inres.ct.dicom.instance import is_dicom
from inres.ct.dicom.series import Series, grouped, series_of
from inres.ct.dicom.stack import Stack, read_stack, stack_of
from inres.ct.header import ScanError

__all__ = ["Series", "Stack", "is_dicom", "open_stack", "read_stack", "series_of"]


def open_stack(path: Path, *, series_uid: str = "", kernel: str = "") -> Stack:
    """The slices of one series in a folder, or of one file, from their headers.

    Args:
      path: a folder with DICOM files, or a DICOM file.
      series_uid: the series to take; empty: the rules of `choice.choose`.
      kernel: a text that its kernel or description must contain, unless `series_uid` is given.

    Raises:
      ScanError: there is no CT volume, more than one that may be meant, or it cannot be read.
    """
    found = read_folder(path) if path.is_dir() else read_files([path])
    if not found.instances:
        raise ScanError(_nothing(path, found))
    chosen, notes = choose(path, grouped(found), series_uid=series_uid, kernel=kernel)
    return stack_of(path, chosen, (*found.notes, *notes))


def _nothing(path: Path, found: Found) -> str:
    """The error for a folder without DICOM."""
    if any("broken link" in note for note in found.notes):
        remedy = "copy the files to which the links point (`git annex get`)"
    elif found.notes:
        remedy = "fetch the files again"
    else:
        remedy = "give a folder of DICOM slices, or an .mhd, .nrrd or .nii.gz file"
        inner = next((p for p in folders_below(path) if p != path and _has_dicom(p)), None)
        if inner is not None:
            remedy = f"there are DICOM files in folders below; give one of them, such as {inner}"
    return "; ".join((f"{path}: no DICOM series in this folder", *found.notes, remedy))


def _has_dicom(folder: Path) -> bool:
    """Whether the first file of a folder is DICOM."""
    first = next((path for path in sorted(folder.iterdir()) if path.is_file()), None)
    return first is not None and is_dicom(first)
