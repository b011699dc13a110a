"""A folder with a DICOM series: its files in order, without copies, and their common header."""

import warnings
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from inres.ct.header import Header, ScanError, checked_header, header_of, information
from inres.ct.image import read_image

# ITK prints warnings about folders and files for which the errors here say more.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def series_files(path: Path, series_uid: str) -> list[Path]:
    """The files of one series in a folder, in order along the slice axis, without copies.

    Identical copies of a slice are dropped with a warning.

    Raises:
      ScanError: no series; several, and no `series_uid`; or different slices at one position.
    """
    found = sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(path))
    if not found:
        raise ScanError(
            f"{path}: no DICOM series in this folder; give a folder of DICOM slices, "
            "or an .mhd, .nrrd or .nii.gz file"
        )
    if series_uid and series_uid not in found:
        raise ScanError(f"{path}: no series {series_uid}; found {', '.join(found)}")
    if not series_uid and len(found) > 1:
        raise ScanError(
            f"{path}: {len(found)} DICOM series ({', '.join(found)}); select one by its uid, "
            "or keep each in its own folder"
        )
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path), series_uid or found[0])
    return _without_copies([Path(name) for name in names])


def series_header(path: Path, names: list[Path]) -> Header:
    """The header of the scan that consists of these slices in this order.

    Raises:
      ScanError: sizes differ, slices are missing, or the gantry was tilted.
    """
    readers = [information(name) for name in names]
    first = header_of(names[0], readers[0])
    for name, reader in zip(names, readers, strict=True):
        here = header_of(name, reader)
        if here.shape != first.shape or here.spacing_mm[:2] != first.spacing_mm[:2]:
            raise ScanError(
                f"{name}: {here.shape[1:]} pixels of {here.spacing_mm[:2]} mm, but {names[0]} has "
                f"{first.shape[1:]} of {first.spacing_mm[:2]}; keep each series in its own folder"
            )
    thickness = first.spacing_mm[2]
    if len(names) > 1:
        origins = np.array([reader.GetOrigin() for reader in readers])
        thickness = _slice_distance(path, names, origins, first.direction[:, 2])
    size = (first.shape[2], first.shape[1], len(names) * first.shape[0])
    spacing = (*first.spacing_mm[:2], thickness)
    return checked_header(path, size, spacing, first.origin_mm, first.direction)


def _slice_distance(
    path: Path, names: list[Path], origins: np.ndarray, normal: np.ndarray
) -> float:
    """Mean distance in mm between slices with these origins [N, 3], along their normal [3].

    Raises:
      ScanError: a gap of more than 1.5 usual distances, or slices that shift sideways.
    """
    steps = np.diff(origins, axis=0)
    along = steps @ normal
    widest = int(along.argmax())
    if along[widest] > 1.5 * np.median(along):
        raise ScanError(
            f"{path}: {along[widest]:g} mm between {names[widest].name} and "
            f"{names[widest + 1].name}, elsewhere {np.median(along):g}; slices are missing, "
            "fetch the series again"
        )
    across = np.linalg.norm(steps.sum(0) - along.sum() * normal)
    if across > 1.0:
        raise ScanError(
            f"{path}: slices shift sideways by {across:g} mm over the scan (tilted gantry); "
            "convert it with a tool that corrects the tilt, such as dcm2niix"
        )
    return float(along.mean())


def _without_copies(names: list[Path]) -> list[Path]:
    """The files in order along the slice axis, each position once."""
    placed = [(name, information(name)) for name in names]
    normal = np.array(placed[0][1].GetDirection()).reshape(3, 3)[:, 2]
    heights = np.array([float(normal @ np.array(r.GetOrigin())) for _, r in placed])
    ordered = [int(i) for i in np.argsort(heights, kind="stable")]
    keep = ordered[:1]
    for i in ordered[1:]:
        if heights[i] - heights[keep[-1]] > 1e-3:
            keep.append(i)
            continue
        first, second = names[keep[-1]], names[i]
        if not np.array_equal(read_image(first), read_image(second)):
            raise ScanError(
                f"{first} and {second}: two different slices at the same position "
                f"({heights[i]:g} mm); remove one"
            )
        warnings.warn(f"{second}: a copy of {first}, left out", stacklevel=4)
    return [names[i] for i in keep]
