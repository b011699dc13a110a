"""Missing, truncated and damaged data files, found before SimpleITK reads them.

SimpleITK reports "No such file or directory" for a truncated MetaImage, and reads a damaged .zraw
or a truncated NIfTI without an error.
"""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from inres.ct.header import ScanError

_META_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4,
    "MET_LONG": 4, "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}  # fmt: skip


def check_data_file(path: Path, *, deep: bool) -> None:
    """Refuse a MetaImage or NIfTI whose data is missing, too short or, if `deep`, damaged.

    A deep check decompresses the whole file. Other formats are not checked.

    Raises:
      ScanError: names the file to fetch again.
    """
    name = path.name.lower()
    if name.endswith((".mhd", ".mha")):
        _check_metaimage(path, deep=deep)
    elif name.endswith((".nii", ".nii.gz")):
        _check_nifti(path, deep=deep)


def _check_metaimage(path: Path, *, deep: bool) -> None:
    fields, header_bytes = _metaimage_fields(path)
    target = fields["ElementDataFile"]
    if target.upper().startswith("LIST") or "%" in target:
        return
    local = target.upper() == "LOCAL"
    data = path if local else path.parent / target
    if not data.is_file():
        raise ScanError(f"{path}: its data file {data} is missing; fetch it again")
    try:
        dims = [int(n) for n in fields["DimSize"].split()]
        element = _META_BYTES[fields["ElementType"]]
        channels = int(fields.get("ElementNumberOfChannels", 1))
        stated = int(fields.get("CompressedDataSize", 0))
        skip = header_bytes if local else max(0, int(fields.get("HeaderSize", 0)))
    except (KeyError, ValueError) as error:
        raise ScanError(f"{path}: damaged header ({error}); fetch it again") from None
    need = int(np.prod(dims)) * element * channels
    have = data.stat().st_size - skip
    compressed = fields.get("CompressedData", "False").lower() == "true"
    expected = stated if compressed else need
    if have < expected:
        raise ScanError(
            f"{data}: truncated, {have} bytes of {expected} (for {path.name}); fetch it again"
        )
    if compressed and deep:
        _check_stream(data, need, _inflated(data, skip), owner=path)


def _metaimage_fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of the header, and its length in bytes."""
    fields: dict[str, str] = {}
    with open(path, "rb") as file:
        for _ in range(1000):
            line = file.readline(4096)
            key, equals, value = line.decode("latin-1").partition("=")
            if not equals:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return fields, file.tell()
    raise ScanError(
        f"{path}: not a MetaImage header (no ElementDataFile line); fetch it again or remove it"
    )


def _check_nifti(path: Path, *, deep: bool) -> None:
    packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if packed else open(path, "rb") as file:
            head = file.read(352)
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(f"{path}: truncated or damaged ({error}); fetch it again") from None
    if len(head) < 348:
        raise ScanError(f"{path}: truncated, {len(head)} bytes of header; fetch it again")
    for order in ("<", ">"):
        if np.frombuffer(head[:4], f"{order}i4")[0] == 348:
            break
    else:
        return  # NIfTI-2 or another format; left to ITK
    dims = np.frombuffer(head[40:56], f"{order}i2").astype(np.int64)
    bits = int(np.frombuffer(head[72:74], f"{order}i2")[0])
    start = int(np.frombuffer(head[108:112], f"{order}f4")[0])
    need = start + int(np.prod(np.maximum(dims[1 : 1 + max(0, dims[0])], 1))) * bits // 8
    if not packed:
        have = path.stat().st_size
        if have < need:
            raise ScanError(f"{path}: truncated, {have} bytes of {need}; fetch it again")
    elif deep:
        _check_stream(path, need, _unpacked(path), owner=path)


def _check_stream(data: Path, need: int, sizes: Iterator[int], *, owner: Path) -> None:
    """Decompress a stream, given by the lengths of its pieces, and compare its length."""
    have = 0
    try:
        for size in sizes:
            have += size
    except (OSError, EOFError, zlib.error) as error:
        raise ScanError(
            f"{data}: truncated or damaged after {have} of {need} unpacked bytes ({error}); "
            f"fetch it again (for {owner.name})"
        ) from None
    if have < need:
        raise ScanError(
            f"{data}: truncated, {have} unpacked bytes of {need} (for {owner.name}); fetch it again"
        )


def _inflated(data: Path, skip: int) -> Iterator[int]:
    """Lengths of the decompressed pieces of a zlib stream; EOFError if it ends early."""
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip
    with open(data, "rb") as file:
        file.seek(skip)
        while not stream.eof:
            piece = file.read(1 << 20)
            if not piece:
                raise EOFError("the stream ends early")
            yield len(stream.decompress(piece))


def _unpacked(path: Path) -> Iterator[int]:
    """Lengths of the decompressed pieces of a gzip file."""
    with gzip.open(path) as file:
        while piece := file.read(1 << 22):
            yield len(piece)
