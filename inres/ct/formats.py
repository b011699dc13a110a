"""Files of scans by their format: checked before SimpleITK reads them."""

from collections.abc import Callable
from pathlib import Path

from inres.ct import metaimage, nifti, nrrd
from inres.ct.damage import Stored, check_stored
from inres.ct.header import reader_by_name

_DESCRIBE: dict[str, Callable[[Path], Stored]] = {
    "MetaImageIO": metaimage.describe,
    "NrrdImageIO": nrrd.describe,
    "NiftiImageIO": nifti.describe,
}
"""How a header is checked, by SimpleITK's reader that reads it afterwards."""


def _described(path: Path) -> Stored | None:
    reader = reader_by_name(path)
    return _DESCRIBE[reader](path) if reader else None


def data_files(path: Path) -> tuple[Path, ...]:
    """The files that a scan's header names, besides itself; none for other formats and DICOM.

    Raises:
      ScanError: the header is damaged or contradicts itself.
    """
    stored = _described(path)
    return () if stored is None else tuple(part for part in stored.parts if part != path)


def check_data_file(path: Path, *, deep: bool) -> Stored | None:
    """Refuse a file whose header contradicts itself, or whose voxels are not there or damaged.

    Args:
      path: the file.
      deep: unpack all voxels, which finds damage.

    Returns:
      What the header says of the voxels; None for other formats, which are not checked.

    Raises:
      ScanError: names the file and the field to correct, or the file to fetch again.
    """
    stored = _described(path)
    if stored is not None:
        check_stored(stored, deep=deep)
    return stored
