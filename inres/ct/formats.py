"""Files of scans by their format: checked before SimpleITK reads them."""

from collections.abc import Callable
from pathlib import Path

from inres.ct import metaimage, nifti, nrrd
from inres.ct.damage import Stored, check_stored

_DESCRIBE: dict[str, Callable[[Path], Stored]] = {
    **dict.fromkeys((".mhd", ".mha"), metaimage.describe),
    **dict.fromkeys((".nii", ".nii.gz", ".hdr", ".img", ".img.gz"), nifti.describe),
    **dict.fromkeys((".nrrd", ".nhdr"), nrrd.describe),
}
"""How a header is read, by the ending of the file."""


def data_files(path: Path) -> tuple[Path, ...]:
    """The files that a scan's header names, besides itself; none for other formats and DICOM.

    Raises:
      ScanError: the header is damaged or contradicts itself.
    """
    name = path.name.lower()
    describe = next((one for ending, one in _DESCRIBE.items() if name.endswith(ending)), None)
    return () if describe is None else tuple(p for p in describe(path).parts if p != path)


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
    name = path.name.lower()
    for ending, describe in _DESCRIBE.items():
        if name.endswith(ending):
            stored = describe(path)
            check_stored(stored, deep=deep)
            return stored
    return None
