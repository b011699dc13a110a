"""The DICOM files of a folder: one pass over their headers."""

import contextlib
import dataclasses
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom

from inres.ct.dicom.elements import UnreadableError
from inres.ct.dicom.instance import Instance, read_instance
from inres.system.messages import printable

_SUFFIXES = (".dcm", ".dicom", ".ima")
"""Endings of files that are meant to be DICOM; many archives export it without an ending."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What a folder holds."""

    instances: tuple[Instance, ...]
    notes: tuple[str, ...]
    """Files that may be slices and cannot be read."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without pydicom's checks of values and its warnings; ours say more."""
    with warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


def read_folder(folder: Path) -> Found:
    """The DICOM files directly in a folder, in the order of their names.

    Files that may be slices and cannot be read are noted. Other files are ignored.

    Raises:
      OSError: the folder cannot be read.
    """
    # Hidden files include AppleDouble ones, ._name.
    files = (p for p in folder.iterdir() if not p.name.startswith(".") and not p.is_dir())
    return read_files(sorted(files))


def read_files(paths: Sequence[Path]) -> Found:
    """As `read_folder`, of these files."""
    instances, wrong = [], []
    with quiet():
        for path in paths:
            try:
                if not path.exists():
                    wrong.append((path, "broken link"))
                elif not path.is_file():
                    continue
                elif not path.stat().st_size:
                    wrong.append((path, "empty file"))
                elif instance := read_instance(path):
                    instances.append(instance)
                elif path.suffix.lower() in _SUFFIXES:
                    wrong.append((path, "not DICOM"))
            except UnreadableError:
                wrong.append((path, "truncated or damaged"))
            except OSError as error:
                wrong.append((path, f"cannot be opened ({error.strerror or error})"))
    return Found(tuple(instances), tuple(_grouped(wrong)))


def folders_below(root: Path) -> Iterator[Path]:
    """`root` and all folders below it, in the order of their names; links are not followed."""
    for folder, inner, _ in os.walk(root):
        inner.sort()
        yield Path(folder)


def _grouped(wrong: Sequence[tuple[Path, str]]) -> Iterator[str]:
    """One note for each reason, with the first files."""
    for reason in dict.fromkeys(why for _, why in wrong):
        names = [printable(path.name) for path, why in wrong if why == reason]
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        yield f"left out, {reason}: {shown}"
