"""The manifest of an index on disk, and the lock of its writer."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inres.storage.errors import StoreError, damaged
from inres.system import files

FORMAT = "inres-index"
VERSION = 2
READABLE = (1, 2)
"""Version 1 has no files for the search."""
MANIFEST = "manifest.json"
LOCK = "lock"


def _seal(manifest: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def of_no_shards(
    *,
    bits: int,
    dims: int,
    dtype: str,
    model: str,
    count: int,
    columns: Mapping[str, str],
    group: str,
    label: str,
) -> dict[str, Any]:
    """The manifest of a new index of `count` items, before its shards are written."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "bits": bits,
        "dims": dims,
        "dtype": dtype,
        "model": model,
        "count": count,
        "next_id": count,
        "next_serial": 0,
        "columns": dict(columns),
        "group": group,
        "label": label,
        "next_group": 0,
        "shards": [],
        "removed": None,
    }


def write(root: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest; with this, a change takes effect."""
    files.write_json(root / MANIFEST, {**manifest, "sha256": _seal(manifest)})


def read(path: str | Path) -> dict[str, Any]:
    """Read the manifest of the index at `path` and check its checksum.

    Raises:
      FileNotFoundError: there is no index.
      StoreError: not an index, another format version, or a damaged manifest.
    """
    path = Path(path) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; there is no index here")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise damaged(path, error) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise StoreError(f"{path}: not the manifest of an index (format is not {FORMAT!r})")
    if manifest.get("version") not in READABLE:
        raise StoreError(
            f"{path}: format version {manifest.get('version')}, this program reads "
            f"{' and '.join(map(str, READABLE))}; build the index again"
        )
    if manifest.get("sha256") != _seal(manifest):
        raise damaged(path, "checksum differs")
    return manifest


Stamp = tuple[int, int, int] | None
"""Of a manifest's file; it differs once the index has changed. None: there is no manifest."""


def stamp(root: Path) -> Stamp:
    """The stamp of the index at `root`; a writer replaces the file of the manifest."""
    try:
        found = (root / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def renewed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest as the present version writes it.

    An index of version 1 that this program made has scans and labels. Its shards get files for the
    search when they are rewritten.
    """
    if manifest["version"] == VERSION:
        return dict(manifest)
    columns = manifest["columns"]
    return {
        **manifest,
        "version": VERSION,
        "group": "scan" if columns.get("scan") == "text" else "",
        "label": "label" if columns.get("label") == "integer" else "",
        "next_group": 0,
    }


def hold(root: Path) -> contextlib.AbstractContextManager[None]:
    """Lock the index at `root` for one writer.

    Raises:
      StoreError: another program has locked it.
    """
    return files.lock(
        root / LOCK,
        StoreError(f"{root}: another program is writing to this index; try again when it is done"),
    )


def named_files(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The entries of all files of an index except the manifest."""
    entries = [entry for shard in manifest["shards"] for entry in shard["files"].values()]
    return [*entries, *([manifest["removed"]] if manifest["removed"] else [])]
