"""Indexes from other programs' arrays, and for faiss."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres import files
from inres.retrieval import codes as codes_lib
from inres.retrieval import store


def import_npy(
    path: str | Path,
    codes: str | Path,
    features: str | Path,
    *,
    bits: int,
    model: str,
    records: Sequence[Mapping[str, store.Value]] | None = None,
) -> None:
    """Make an index at `path` from two .npy files.

    Args:
      path: the index to make.
      codes: uint32 [N, W] (see `inres.retrieval.codes` for the bit order), or bool [N, bits].
      features: floats [N, D]; float64 is narrowed.
      bits: code length.
      model: what made the arrays; queries must come from the same.
      records: N records; default: the row number alone.

    Raises:
      StoreError: a file is no array or not such an array.
      FileNotFoundError: there is no such file.
    """
    packed, wide = _read(Path(codes)), _read(Path(features))
    if packed.dtype == np.bool_ and packed.ndim == 2 and packed.shape[1] == bits:
        packed = codes_lib.pack(packed)
    if packed.dtype != np.uint32 or packed.ndim != 2:
        raise store.StoreError(
            f"{codes}: {packed.dtype} {packed.shape}, must be uint32 [N, "
            f"{codes_lib.words(bits)}] or bool [N, {bits}]"
        )
    if not np.issubdtype(wide.dtype, np.floating) or wide.ndim != 2:
        raise store.StoreError(f"{features}: {wide.dtype} {wide.shape}, must be floats [N, D]")
    if records is None:
        records = [{"row": row} for row in range(len(packed))]
    wide = np.asarray(wide, np.float32)
    store.save(path, packed, wide, records, bits=bits, model=model)


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise store.StoreError(f"{path}: not an .npy array ({error})") from None


def export_faiss(
    path: str | Path, *, binary: str | Path | None = None, flat: str | Path | None = None
) -> None:
    """Write the index at `path` as faiss index files; faiss must be installed.

    Args:
      path: the index.
      binary: file for the codes, an IndexBinaryIDMap over an IndexBinaryFlat. Codes of other than
        whole bytes get zero bits.
      flat: file for the features, an IndexIDMap over an IndexFlatL2.

    Raises:
      ImportError: faiss is not installed.
    """
    import faiss

    opened = store.load(path)
    bits = 8 * -(-opened.bits // 8)
    if binary is not None:
        # The map does not keep what it maps alive.
        held = faiss.IndexBinaryFlat(bits)
        codes: Any = faiss.IndexBinaryIDMap(held)
        for shard in opened.shards:
            octets = shard.rows("codes").view(np.uint8)[:, : bits // 8]
            codes.add_with_ids(np.ascontiguousarray(octets), shard.rows("ids").astype(np.int64))
        with files.atomic_path(binary) as part:
            faiss.write_index_binary(codes, str(part))
    if flat is not None:
        kept = faiss.IndexFlatL2(opened.dims)
        rows: Any = faiss.IndexIDMap(kept)
        for shard in opened.shards:
            wide = np.asarray(shard.rows("features"), np.float32)
            rows.add_with_ids(np.ascontiguousarray(wide), shard.rows("ids").astype(np.int64))
        with files.atomic_path(flat) as part:
            faiss.write_index(rows, str(part))
