"""CT in DICOM: the series in a folder, and one of them as a scan.

series_of(folder)         what is there, without reading pixels
candidates(folder)        the CT volumes among which open_stack chooses
open_stack(folder)        the slices of one series, their grid, and what was decided
read_stack(stack)         its HU
read_image(file)          HU of one file, wherever its slices lie
"""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inres.ct.dicom.choice import choose
from inres.ct.dicom.folder import Found, folders_below, read_files, read_folder
from inres.ct.dicom.instance import CT_CLASSES, Instance, is_dicom
from inres.ct.dicom.series import Series, grouped, series_of
from inres.ct.dicom.stack import Stack, read_slices, read_stack, stack_of
from inres.ct.header import ScanError

__all__ = [
    "Series",
    "Stack",
    "candidates",
    "is_dicom",
    "open_stack",
    "read_image",
    "read_stack",
    "series_of",
    "series_uid_of",
]


MOST_FILES = 5000
"""A folder whose folders hold more DICOM files than this is a collection rather than one scan."""
MOST_LOOKED = 20_000
"""Files of any kind, likewise; each is opened to see what it is."""
_MOST_NOTES = 4


def open_stack(path: Path, *, series_uid: str = "", kernel: str = "") -> Stack:
    """The slices of one series, from their headers.

    Args:
      path: a folder with DICOM files, a folder whose folders hold those of one study, or one file.
      series_uid: the series to take; empty: the rules of `choice.choose`.
      kernel: a text that its kernel or description must contain, unless `series_uid` is given.

    Raises:
      ScanError: there is no CT volume, more than one that may be meant, or it cannot be read.
    """
    try:
        found = _found(path)
    except OSError as error:
        raise ScanError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not found.instances:
        raise ScanError(_nothing(path, found))
    series = grouped(found)
    if not series_uid:
        _require_one_study(path, series)
    chosen, notes = choose(path, series, series_uid=series_uid, kernel=kernel)
    if chosen.slices == 1 and not path.is_dir():
        notes = (*notes, "a single slice; give its folder for the whole series")
    return stack_of(path, chosen, (*found.notes, *notes))


def candidates(path: Path) -> list[Series]:
    """The CT volumes among which `open_stack` chooses.

    Raises:
      ScanError: there are too many files.
      OSError: the folder cannot be read.
    """
    return [series for series in grouped(_found(path)) if series.volume]


def series_uid_of(path: Path) -> str:
    """SeriesInstanceUID of one file; empty if it has none, or is not DICOM.

    Raises:
      OSError: the file cannot be opened.
    """
    if not is_dicom(path):
        return ""
    return next((one.series_uid for one in read_files([path]).instances), "")


def read_image(path: Path) -> np.ndarray | None:
    """HU of a CT file, int16 [Z, Y, X], in the order of its positions; None if it is no CT.

    The position of a single slice need not be known.

    Raises:
      ScanError: HU are unknown, or pixels cannot be read.
    """
    found = _found(path)
    if not found.instances:
        raise ScanError(_nothing(path, found))
    (instance,) = found.instances
    if instance.sop_class not in CT_CLASSES or not instance.slices:
        return None
    if len(instance.slices) > 1:
        return read_stack(open_stack(path))[0]
    if problem := instance.slices[0].value_problem:
        raise ScanError(f"{path}: {problem}")
    return read_slices(path, instance.slices)[0]


def _found(path: Path) -> Found:
    if not path.is_dir():
        return read_files([path])
    found = read_folder(path)
    if found.instances:
        return _with_the_rest_below(path, found)
    if found.notes:
        return found
    instances: list[Instance] = []
    notes: list[str] = []
    looked = 0
    for folder in folders_below(path):
        looked += len(os.listdir(folder))
        if looked > MOST_LOOKED:
            raise ScanError(
                f"{path}: more than {MOST_LOOKED} files in folders below; give the folder of one "
                "scan"
            )
        inner = read_folder(folder)
        instances += inner.instances
        notes += inner.notes
        if len(instances) > MOST_FILES:
            raise ScanError(
                f"{path}: more than {MOST_FILES} DICOM files in folders below; give the folder of "
                f"one scan, such as {instances[0].path.parent}"
            )
    return Found(tuple(instances), tuple(notes))


def _with_the_rest_below(path: Path, found: Found) -> Found:
    """The files of a folder, with those of the same series in folders below it."""
    uids = {one.series_uid for one in found.instances if one.slices and one.series_uid}
    more: list[Instance] = []
    read = looked = 0
    for folder in itertools.islice(folders_below(path), 1, None):
        looked += len(os.listdir(folder))
        if looked > MOST_LOOKED:
            return found
        inner = read_folder(folder).instances
        more += [one for one in inner if one.series_uid in uids]
        read += len(inner)
        if read > MOST_FILES:  # a collection next to the scan
            return found
    if not more:
        return found
    note = f"{len(more)} files of the same series in folders below, such as {more[0].path.parent}"
    return Found((*found.instances, *more), (*found.notes, note))


def _require_one_study(path: Path, found: Sequence[Series]) -> None:
    """Refuse CT volumes of several patients or studies, between which no rule can choose.

    Raises:
      ScanError: lists them.
    """
    volumes = [series for series in found if series.volume]
    studies = {(s.patient, s.study_uid) for s in volumes}
    if len(studies) > 1:
        shown = [
            f"patient {s.patient or 'unknown'}, {s.study_date or 'unknown date'}: {s.described()}"
            + (f" in {s.folder}" if s.folder != path else "")
            for s in volumes
        ]
        more = f"; and {len(shown) - 6} more" if len(shown) > 6 else ""
        raise ScanError(
            f"{path}: CT of {len(studies)} patients or studies; {'; '.join(shown[:6])}{more}; "
            "choose a series by its uid (series_uid, --series), or keep each study in its own "
            "folder"
        )


def _nothing(path: Path, found: Found) -> str:
    """The error for a file or folder without DICOM."""
    where = "in this folder or below" if path.is_dir() else "in this file"
    if any("broken link" in note for note in found.notes):
        remedy = "copy the files to which the links point (`git annex get`)"
    elif found.notes:
        remedy = "fetch the files again"
    else:
        remedy = "give a folder of DICOM slices, or an .mhd, .nrrd or .nii.gz file"
    notes = list(found.notes[:_MOST_NOTES])
    if len(found.notes) > _MOST_NOTES:
        notes.append(f"and {len(found.notes) - _MOST_NOTES} more such notes")
    return "; ".join((f"{path}: no DICOM series {where}", *notes, remedy))
