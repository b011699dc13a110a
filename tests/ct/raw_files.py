"""Files of scans written byte by byte, so that any field of a header can be wrong."""

import struct

import numpy as np

VOXELS = np.random.default_rng(1).integers(-1000, 400, (4, 5, 6)).astype(np.int16)
"""HU [Z, Y, X]."""
SPACING, ORIGIN = (0.7, 0.8, 2.5), (-100.0, 50.0, 20.0)
"""x, y, z in mm; the axes are those of the world (LPS)."""


def write_metaimage(path, *, fields=(), without=(), data=None, text=None):
    """A .mhd with its .raw of the scan; `fields` replace or add, `text` changes the header."""
    head = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False",
        "TransformMatrix": "1 0 0 0 1 0 0 0 1",
        "Offset": "-100 50 20",
        "ElementSpacing": "0.7 0.8 2.5",
        "DimSize": "6 5 4",
        "ElementType": "MET_SHORT",
    }
    head |= {"ElementDataFile": f"{path.stem}.raw"} | dict(fields)
    head["ElementDataFile"] = head.pop("ElementDataFile")  # is the last field
    lines = "".join(f"{name} = {value}\n" for name, value in head.items() if name not in without)
    path.write_bytes((text(lines) if text else lines).encode())
    path.with_suffix(".raw").write_bytes(VOXELS.astype("<i2").tobytes() if data is None else data)
    return path


def nifti_header(*, order="<", **wrong):
    """A NIfTI-1 header of the scan, 348 bytes; `wrong` replaces fields."""
    x, y, z = SPACING
    rows = ((-x, 0, 0, 100), (0, -y, 0, -50), (0, 0, z, 20))  # RAS
    values = {
        "dim": (3, 6, 5, 4, 1, 1, 1, 1),
        "type": (4, 16),
        "pixdim": (1, x, y, z, 0, 0, 0, 0),
        "vox_offset": (352,),
        "scale": (1, 0),
        "units": (2,),
        "codes": (1, 1),
        "quaternion": (0, 0, 1),
        "offset": (100, -50, 20),
        "rows": tuple(np.ravel(rows)),
        "magic": (b"n+1\0",),
    } | wrong
    places = {
        **{"dim": (40, "8h"), "type": (70, "2h"), "pixdim": (76, "8f"), "vox_offset": (108, "f")},
        **{"scale": (112, "2f"), "units": (123, "B"), "codes": (252, "2h")},
        **{"quaternion": (256, "3f"), "offset": (268, "3f"), "rows": (280, "12f")},
        "magic": (344, "4s"),
    }
    head = bytearray(348)
    struct.pack_into(f"{order}i", head, 0, 348)
    for name, (place, form) in places.items():
        struct.pack_into(order + form, head, place, *values[name])
    return bytes(head)


def write_nifti(path, *, order="<", data=None, **wrong):
    """A .nii of the scan."""
    voxels = VOXELS.astype(f"{order}i2").tobytes() if data is None else data
    path.write_bytes(nifti_header(order=order, **wrong) + bytes(4) + voxels)
    return path


def write_nrrd(path, *, fields=(), without=(), data=None):
    """A .nrrd of the scan; `fields` replace or add."""
    head = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "sizes": "6 5 4",
        "space directions": "(0.7,0,0) (0,0.8,0) (0,0,2.5)",
        "kinds": "domain domain domain",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(-100,50,20)",
    } | dict(fields)
    lines = "".join(
        f"{name}: {value}\n".replace(": =", ":=")
        for name, value in head.items()
        if name not in without
    )
    voxels = VOXELS.astype("<i2").tobytes() if data is None else data
    path.write_bytes(f"NRRD0004\n{lines}\n".encode() + voxels)
    return path
