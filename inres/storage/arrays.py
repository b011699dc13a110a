"""The files of an index: .npy arrays written in blocks and memory-mapped, and their checksums."""

import hashlib
import io
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from inres.storage.errors import StoreError, damaged
from inres.system import files


def write(
    path: Path, shape: tuple[int, ...], dtype: str, blocks: Iterable[np.ndarray]
) -> dict[str, Any]:
    """Write an .npy file block by block; returns its entry for the manifest."""
    header = io.BytesIO()
    form = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, form)
    digest = hashlib.sha256(header.getvalue())
    with files.atomic_path(path) as temporary, open(temporary, "wb") as file:
        file.write(header.getvalue())
        for block in blocks:
            if block.dtype == ml_dtypes.bfloat16:
                block = block.view(np.uint16)
            data = np.ascontiguousarray(block, dtype).data
            file.write(data)
            digest.update(data)
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def check_file(root: Path, entry: Mapping[str, Any]) -> Path:
    """The path of a file in the manifest, after checking that it exists with the right size."""
    path = root / entry["name"]
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise StoreError(f"{path}: missing; build the index again") from None
    if size != entry["bytes"]:
        raise StoreError(
            f"{path}: has {size} bytes, the manifest says {entry['bytes']}; build the index again"
        )
    return path


def open_array(
    root: Path, entry: Mapping[str, Any], shape: tuple[int, ...], dtype: str
) -> np.ndarray:
    """Memory-map an array in the manifest, after checking its size and header."""
    path = check_file(root, entry)
    try:
        array = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError, tokenize.TokenError) as error:
        raise damaged(path, error) from None
    if array.shape != shape or array.dtype != np.dtype(dtype):
        raise StoreError(
            f"{path}: {array.dtype} {array.shape}, the manifest says {np.dtype(dtype)} {shape}"
        )
    return array


def check_sums(root: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Read files in parallel and compare them with their checksums.

    Raises:
      StoreError: a file is missing or differs; names the first one.
    """

    def right(entry: Mapping[str, Any]) -> bool:
        path = check_file(root, entry)
        try:
            return files.sha256(path) == entry["sha256"]
        except OSError as error:
            raise StoreError(f"{path}: cannot be read ({error.strerror})") from None

    with ThreadPoolExecutor() as pool:
        for entry, is_right in zip(entries, pool.map(right, entries), strict=True):
            if not is_right:
                pool.shutdown(cancel_futures=True)
                raise damaged(root / entry["name"], "checksum differs")
