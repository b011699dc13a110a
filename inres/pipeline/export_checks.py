"""Model card and checksums of an exported run: read, and checked against its files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inres.pipeline import artifacts
from inres.system import files

FORMAT, VERSION = "inres-run", 2
CARD = "model.json"
CHECKSUMS = "checksums.json"
REQUIRED = (
    CARD,
    "config.json",
    "network.npz",
    "items.csv",
    "embeddings.npz",
    "properties.json",
    "thumbnails.npy",
    "trained.npy",
)
"""Files of every exported run, next to `CHECKSUMS` and the archive."""
COPY = "copy the exported run again"
"""Remedy for a damaged file."""


class ExportError(ValueError):
    """A folder is not an exported run, or is damaged; names the file."""


def read_card(root: Path) -> dict[str, Any]:
    """The model card of the exported run in `root`.

    Raises:
      ExportError: it is missing or of another version, or a field is missing or of another type.
      ValueError: it is not JSON.
    """
    path = root / CARD
    card = read_format(path)
    if card.get("version") != VERSION:
        raise ExportError(
            f"{path}: version {card.get('version')}, this program reads {VERSION}; export again"
        )
    _check_fields(path, card)
    return card


def _check_fields(path: Path, card: Mapping[str, Any]) -> None:
    """Check the fields of a model card that opening the run depends on."""
    kinds: dict[str, type] = {
        "classes": list,
        "channels": int,
        "reach": int,
        "item_side_px": int,
        "bits": int,
        "fingerprint": str,
        "segmented": bool,
    }
    for name, kind in kinds.items():
        if type(card.get(name)) is not kind:
            raise _bad_field(
                path, name, f"must be of type {kind.__name__}, is {card.get(name)!r:.60}"
            )
    if not card["classes"] or not all(isinstance(name, str) for name in card["classes"]):
        raise _bad_field(path, "classes", f"must be names of classes, is {card['classes']!r:.60}")
    try:
        artifacts.to_scale(card.get("scale"))
    except TypeError as error:
        raise _bad_field(path, "scale", error) from None


def _bad_field(path: Path, name: str, reason: object) -> ExportError:
    return ExportError(f"{path}: field {name}: {reason}; {COPY}")


def read_format(path: Path) -> dict[str, Any]:
    """The model card at `path`, of any version; errors as in `read_card`."""
    if not path.is_file():
        raise ExportError(f"{path}: no such file; the exported run is incomplete; {COPY}")
    card = files.read_json(path, remedy=COPY)
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ExportError(f"{path}: not the model card of an exported run (format {FORMAT!r})")
    return card


def verify(root: Path) -> None:
    """Compare all files of the exported run in `root`, but those of its archive, with their sums.

    Raises:
      ExportError: names the first file that is missing, damaged or without a checksum.
    """
    sums = read_checksums(root)
    require_files(root, sums, REQUIRED)
    for name in sums:
        whole(root, sums, name)


def whole(root: Path, sums: Mapping[str, str], name: str) -> Path:
    """The path of a file that agrees with its checksum.

    Raises:
      ExportError: it is damaged.
    """
    if files.sha256(root / name) != sums[name]:
        raise ExportError(f"{root / name}: damaged (checksum differs); {COPY}")
    return root / name


def require_files(root: Path, sums: Mapping[str, str], required: Sequence[str]) -> None:
    """Check that the required files have checksums, and that all files with checksums are there.

    Raises:
      ExportError: names the first file that is missing or without a checksum.
    """
    for name in required:
        if name not in sums:
            raise ExportError(f"{root / CHECKSUMS}: no checksum of {name}; {COPY}")
    for name in sums:
        if not (root / name).is_file():
            raise ExportError(f"{root / name}: no such file; {COPY}")


def read_checksums(root: Path) -> dict[str, str]:
    """SHA-256 (hex) of each file in `root`, by file name.

    Raises:
      ExportError, ValueError: the list is missing or damaged, or names a file elsewhere.
    """
    path = root / CHECKSUMS
    if not path.is_file():
        raise ExportError(f"{path}: no such file; the exported run is incomplete; {COPY}")
    sums = files.read_json(path, remedy=COPY)
    if not isinstance(sums, dict) or not all(isinstance(text, str) for text in sums.values()):
        raise ExportError(f"{path}: damaged (not digests by file name); {COPY}")
    for name in sums:
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise ExportError(f"{path}: {name!r} is not the name of a file in this folder")
    return sums
