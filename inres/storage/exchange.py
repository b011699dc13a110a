"""Import of .npy arrays, and import and export of faiss index files, all in blocks.

faiss itself is not needed, because a file of a flat index is a header followed by the vectors. The
layout (little-endian, from faiss's `index_write.cpp`) is: four letters; the header with `d` int32,
`code_size` int32 (only binary indexes), `ntotal` int64, two unused int64 (only other indexes),
`is_trained` byte and `metric` int32; then the content. An ID map (IxMp, IBMp) contains the mapped
index, the number of ids and the ids as int64. A flat index (IxF2, IBxF) contains the number of
floats or bytes, and these.
"""

import contextlib
import os
import struct
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from inres.retrieval import codes as codes_lib
from inres.storage import records as records_lib
from inres.storage import shards as shards_lib
from inres.storage import store
from inres.storage.errors import StoreError
from inres.system import files

L2 = 1
"""METRIC_L2 in faiss."""
KINDS = {b"IxF2": "<f4", b"IBxF": "u1"}
"""The letters of flat indexes and the dtypes of their vectors."""


def import_npy(
    path: str | Path,
    codes: str | Path,
    features: str | Path,
    *,
    bits: int,
    model: str,
    records: records_lib.Given | None = None,
    dtype: str = "float32",
) -> None:
    """Create an index at `path` from two .npy files.

    Args:
      path: directory of the index.
      codes: uint32 [N, W] (see `inres.retrieval.codes` for the bit order), or bool [N, bits].
      features: floats [N, D].
      bits: code length.
      model: identifies the source of the arrays; queries must have the same source.
      records: N records, as in `store.save`; default: only the row number.
      dtype: type of the stored features.

    Raises:
      StoreError: a file is not an array of the required kind.
      FileNotFoundError: a file does not exist.
    """
    packed, wide = _read(Path(codes)), _read(Path(features))
    if packed.dtype == np.bool_ and packed.ndim == 2 and packed.shape[1] == bits:
        packed = _in_blocks(packed, codes_lib.pack, codes_lib.words(bits))
    if packed.dtype != np.uint32 or packed.ndim != 2:
        raise StoreError(
            f"{codes}: {packed.dtype} {packed.shape}, must be uint32 [N, "
            f"{codes_lib.words(bits)}] or bool [N, {bits}]"
        )
    if not np.issubdtype(wide.dtype, np.floating) or wide.ndim != 2:
        raise StoreError(f"{features}: {wide.dtype} {wide.shape}, must be floats [N, D]")
    if records is None:
        records = {"row": np.arange(len(packed))}
    with _naming(codes, features):
        store.save(path, packed, wide, records, bits=bits, model=model, dtype=dtype)


@contextlib.contextmanager
def _naming(*paths: str | Path) -> Iterator[None]:
    """Name the files in errors about values that cannot be stored."""
    try:
        yield
    except ValueError as error:
        raise StoreError(f"{', '.join(map(str, paths))}: {error}") from None


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        found = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError, tokenize.TokenError) as error:
        raise StoreError(f"{path}: not an .npy array ({error})") from None
    if not isinstance(found, np.ndarray):
        raise StoreError(f"{path}: contains several arrays; save each one as .npy")
    return found


def _in_blocks(
    rows: np.ndarray, convert: Callable[[np.ndarray], np.ndarray], words: int
) -> np.ndarray:
    """Convert rows block by block to uint32 [N, words]."""
    out = np.empty((len(rows), words), np.uint32)
    for start in range(0, len(rows), records_lib.BLOCK):
        stop = start + records_lib.BLOCK
        out[start:stop] = convert(np.asarray(rows[start:stop]))
    return out


def export_faiss(
    path: str | Path, *, binary: str | Path | None = None, flat: str | Path | None = None
) -> None:
    """Export the index at `path` as faiss index files.

    Args:
      path: directory of the index.
      binary: file for the codes, as an IndexBinaryIDMap of an IndexBinaryFlat. Codes are padded
        with zero bits to whole bytes.
      flat: file for the features as float32, as an IndexIDMap of an IndexFlatL2.
    """
    opened = store.load(path)
    octets = -(-opened.bits // 8)
    if binary is not None:
        header = struct.pack("<iiqbi", 8 * octets, octets, len(opened), 1, L2)
        with _writing(binary, opened, b"IBMp" + header + b"IBxF" + header) as file:
            file.write(struct.pack("<q", octets * len(opened)))
            for block in _blocks(opened, "codes"):
                packed = np.ascontiguousarray(block, "<u4").view(np.uint8)
                file.write(np.ascontiguousarray(packed[:, :octets]).data)
    if flat is not None:
        header = struct.pack("<iqqqbi", opened.dims, len(opened), 1 << 20, 1 << 20, 1, L2)
        with _writing(flat, opened, b"IxMp" + header + b"IxF2" + header) as file:
            file.write(struct.pack("<q", opened.dims * len(opened)))
            for block in _blocks(opened, "features"):
                file.write(np.ascontiguousarray(block, "<f4").data)


@contextlib.contextmanager
def _writing(path: str | Path, opened: store.Stored, head: bytes) -> Iterator[IO[bytes]]:
    """Write an ID map: `head`, then what the caller writes to the file, then the ids."""
    with files.atomic_path(path) as part, open(part, "wb") as file:
        file.write(head)
        yield file
        file.write(struct.pack("<q", len(opened)))
        for block in _blocks(opened, "ids"):
            file.write(np.ascontiguousarray(block, "<i8").data)


def _blocks(opened: store.Stored, part: str) -> Iterator[np.ndarray]:
    rows = shards_lib.joined([shard.source(()) for shard in opened.shards])
    for start in range(0, rows.count, records_lib.BLOCK):
        yield rows.read(part, start, min(start + records_lib.BLOCK, rows.count))


def import_faiss(
    path: str | Path,
    binary: str | Path,
    flat: str | Path,
    *,
    model: str,
    bits: int | None = None,
    records: records_lib.Given | None = None,
    dtype: str = "float32",
) -> None:
    """Create an index at `path` from two faiss index files, keeping the order of the items.

    Args:
      path: directory of the index.
      binary: an IndexBinaryFlat, or an IndexBinaryIDMap of one.
      flat: an IndexFlatL2, or an IndexIDMap of one, with the same items in the same order.
      model: identifies the source of the vectors; queries must have the same source.
      bits: code length; default: all bits of the binary index.
      records: N records, as in `store.save`; default: the ids in faiss, as `faiss_id`.
      dtype: type of the stored features.

    Raises:
      StoreError: a file is damaged or another kind of index, or the two have different ids.
      FileNotFoundError: a file does not exist.
    """
    octets, ids = _read_faiss(Path(binary))
    wide, others = _read_faiss(Path(flat))
    if octets.dtype != np.uint8 or wide.dtype != np.float32:
        raise StoreError(f"{binary}, {flat}: must be a binary index and a float index")
    if not np.array_equal(ids, others):
        raise StoreError(f"{binary}, {flat}: must have the same ids in the same order")
    bits = 8 * octets.shape[1] if bits is None else bits
    words = codes_lib.words(bits)
    if not 8 * octets.shape[1] - 8 < bits <= 8 * octets.shape[1]:
        raise StoreError(
            f"{binary}: codes have {octets.shape[1]} bytes, which do not fit {bits} bits"
        )

    def widen(block: np.ndarray) -> np.ndarray:
        return np.pad(block, [(0, 0), (0, 4 * words - block.shape[1])]).view("<u4")

    packed = _in_blocks(octets, widen, words)
    if records is None:
        records = {"faiss_id": ids}
    with _naming(binary, flat):
        store.save(path, packed, wide, records, bits=bits, model=model, dtype=dtype)


def _read_faiss(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The memory-mapped vectors [N, D] of a flat index, and their ids int64 [N]."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with open(path, "rb") as file:
        try:
            letters, count, width = _read_header(file)
            mapped = letters in (b"IxMp", b"IBMp")
            if mapped:
                letters, count, width = _read_header(file)
            if letters not in KINDS:
                raise StoreError(
                    f"{path}: faiss index of type {letters.decode('latin-1')!r}; only flat indexes "
                    "(IxF2, IBxF) and ID maps of them (IxMp, IBMp) can be imported"
                )
            kind = np.dtype(KINDS[letters])
            (length,) = struct.unpack("<q", file.read(8))
            offset, size = file.tell(), count * width * kind.itemsize
            end = offset + size + mapped * (8 + 8 * count)
            if length != count * width or os.fstat(file.fileno()).st_size != end:
                raise StoreError(
                    f"{path}: damaged (size does not match {count} vectors of {width})"
                )
        except struct.error:
            raise StoreError(f"{path}: damaged, or not a faiss index") from None
    if count == 0:
        return np.zeros((0, width), kind), np.zeros(0, np.int64)
    vectors = np.memmap(path, kind, "r", offset, (count, width))
    if not mapped:
        return vectors, np.arange(count)
    return vectors, np.memmap(path, "<i8", "r", offset + size + 8, (count,))


def _read_header(file: IO[bytes]) -> tuple[bytes, int, int]:
    """The letters of an index, the number of vectors, and the number of values per vector."""
    letters = file.read(4)
    if letters.startswith(b"IB"):
        _, width, count, _, metric = struct.unpack("<iiqbi", file.read(21))
    else:
        width, count, _, _, _, metric = struct.unpack("<iqqqbi", file.read(33))
        if metric > L2:
            file.read(4)
    return letters, count, width
