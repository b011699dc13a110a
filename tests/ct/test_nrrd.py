"""Headers of NRRD that contradict themselves or state what SimpleITK ignores."""

import bz2
import gzip

import numpy as np
import pytest
from ct.raw_files import ORIGIN, SPACING, VOXELS, write_nrrd

from inres.ct import scan
from inres.ct.header import ScanError
from inres.ct.image import read_image

BYTES = VOXELS.astype("<i2").tobytes()
TEXT = " ".join(map(str, VOXELS.ravel())).encode()


def require_same(volume, *, origin=ORIGIN, direction=(1, 1, 1)):
    np.testing.assert_array_equal(volume.hu, VOXELS)
    np.testing.assert_allclose(volume.spacing_mm, SPACING, rtol=1e-6)
    np.testing.assert_allclose(volume.origin_mm, origin, rtol=1e-6)
    np.testing.assert_allclose(volume.direction, np.diag(direction), atol=1e-6)


READ = {
    "plain": {},
    "short name": {"fields": {"space": "LPS", "type": "int16"}},
    "long type": {"fields": {"type": "signed short int"}},
    "unit": {"fields": {"space units": '"mm" "mm" "mm"'}},
    "packed": {"fields": {"encoding": "gzip"}, "data": gzip.compress(BYTES)},
    "skipped": {"fields": {"byte skip": "3"}, "data": b"123" + BYTES},
    "end of file": {"fields": {"byte skip": "-1"}, "data": b"123" + BYTES},
    "skipped, packed": {
        "fields": {"encoding": "gzip", "byte skip": "3"},
        "data": gzip.compress(b"123" + BYTES),
    },
    "swapped": {"fields": {"endian": "big"}, "data": VOXELS.astype(">i2").tobytes()},
    "comment": {"fields": {"# sizes": "1 1 1", "key": "=value"}},
}


@pytest.mark.parametrize("header", READ.values(), ids=READ)
def test_headers_that_are_right_are_read(tmp_path, header):
    require_same(scan.read_scan(write_nrrd(tmp_path / "a.nrrd", **header)))


@pytest.mark.parametrize(
    ("space", "origin", "direction"),
    [
        ("right-anterior-superior", (100, -50, 20), (-1, -1, 1)),
        ("RAS", (100, -50, 20), (-1, -1, 1)),
        ("LAS", (-100, -50, 20), (1, -1, 1)),
    ],
)
def test_every_space_of_the_body_becomes_lps(tmp_path, space, origin, direction):
    path = write_nrrd(tmp_path / "a.nrrd", fields={"space": space})
    require_same(scan.read_scan(path), origin=origin, direction=direction)


def test_voxels_in_other_files(tmp_path):
    (tmp_path / "a.raw").write_bytes(BYTES)
    (tmp_path / "a.raw.gz").write_bytes(gzip.compress(BYTES))
    for number, plane in enumerate(VOXELS):
        (tmp_path / f"s{number}.raw").write_bytes(plane.astype("<i2").tobytes())
    names = "\n".join(f"s{number}.raw" for number in range(4))
    for encoding, target in (
        *(("raw", "a.raw"), ("gzip", "a.raw.gz"), ("raw", "s%d.raw 0 3 1")),
        ("raw", "s%d.raw 0 3 1 2"),
        ("raw", f"LIST\n{names}"),
    ):
        fields = {"encoding": encoding, "data file": target}
        path = write_nrrd(tmp_path / "a.nhdr", fields=fields, data=b"")
        if "LIST" in target:
            path.write_bytes(path.read_bytes().rstrip(b"\n") + b"\n")
        require_same(scan.read_scan(path))
    (tmp_path / "s2.raw").write_bytes(b"1234")
    with pytest.raises(ScanError, match=r"s2\.raw: truncated, 4 bytes of 60 \(for a\.nhdr\)"):
        scan.read_header(path)
    (tmp_path / "s2.raw").unlink()
    with pytest.raises(ScanError, match=r"a\.nhdr: its data file .*s2\.raw is missing"):
        scan.read_header(path)
    write_nrrd(path, fields={"data file": "s%d.raw 0 6 1"}, data=b"")
    with pytest.raises(ScanError, match=r"a\.nhdr: 7 data files for sizes 6 5 4"):
        scan.read_header(path)
    for pattern in ("s%d.raw 0 999999999999 1", "s%s.raw 0 3 1", "s%d.raw 0 3 0", "50%.raw"):
        write_nrrd(path, fields={"data file": pattern}, data=b"")
        with pytest.raises(ScanError, match=r"a\.nhdr: (1000000000000 data files|datafile is .*%)"):
            scan.read_header(path)


WRONG = {
    "no space": ({"without": ("space",)}, "space is missing, so left and right are unknown"),
    "scanner": ({"fields": {"space": "scanner-xyz"}}, "space is scanner-xyz, so left and right"),
    "time": ({"fields": {"space": "LPST"}}, "space is LPST"),
    "spacings": (
        {"fields": {"spacings": "0.7 0.8 2.5"}, "without": ("space", "space directions")},
        "space is missing",
    ),
    "unit": ({"fields": {"space units": '"um" "um" "um"'}}, "space units is .*; must be mm"),
    "micrometres": ({"fields": {"space directions": "(700,0,0) (0,800,0) (0,0,2500)"}}, "in mm"),
    "no origin": ({"without": ("space origin",)}, "space origin is missing"),
    "no directions": ({"without": ("space directions",)}, "space directions is missing"),
    "one axis": ({"fields": {"space directions": "none (0,.8,0) (0,0,2.5)"}}, "directions is none"),
    "NaN": ({"fields": {"space directions": "(nan,0,0) (0,.8,0) (0,0,2.5)"}}, "three vectors"),
    "zero": ({"fields": {"space directions": "(0,0,0) (0,.8,0) (0,0,2.5)"}}, "spacing"),
    "sheared": ({"fields": {"space directions": "(.7,.3,0) (0,.8,0) (0,0,2.5)"}}, "not perpend"),
    "quantized": ({"fields": {"old min": "-1000", "old max": "400"}}, "undo the quantization"),
    "unknown type": ({"fields": {"type": "block"}}, "type is block"),
    "other type": ({"fields": {"type": "int"}}, "truncated, 240 bytes of 480"),
    "bzip2": (
        {"fields": {"encoding": "bzip2"}, "data": bz2.compress(BYTES)},
        "encoding is bzip2; must be raw or gzip",
    ),
    "text": ({"fields": {"encoding": "ascii"}, "data": TEXT}, "encoding is ascii; must be raw"),
    "lines": (
        {"fields": {"line skip": "1"}, "data": b"123\n" + BYTES},
        "lineskip is 1; must be 0: give the same place as byte skip",
    ),
    "skipped from the end": ({"fields": {"byte skip": "-2"}}, "byteskip is -2; must be -1"),
    "origin of NaN": ({"fields": {"space origin": "(nan,nan,nan)"}}, "must be three numbers"),
    "no numbers": ({"fields": {"space origin": "none"}}, "space origin is none; must be three"),
    "two numbers": ({"fields": {"space origin": "(1,2)"}}, "must be three numbers"),
    "underscores": ({"fields": {"space origin": "(-1_00,50,20)"}}, "must be three numbers"),
    "other digits": (
        {"fields": {"space directions": "(\uff11,0,0) (0,.8,0) (0,0,2.5)"}},
        "must be three vectors of three numbers",
    ),
    "twice": ({"fields": {"SPACE ORIGIN": "(0,0,0)"}}, "spaceorigin is given twice; remove one"),
    "a slice less": ({"fields": {"sizes": "6 5 3"}}, "240 bytes of voxels, .* describes 180"),
    "a slice more": ({"fields": {"sizes": "6 5 5"}}, "truncated, 240 bytes of 300"),
    "overflow": (
        {"fields": {"sizes": "4294967296 4294967296 16"}},
        "truncated, 240 bytes of 59029",
    ),
    "negative": ({"fields": {"sizes": "6 5 -4"}}, "sizes is 6 5 -4; must be"),
    "no voxels": ({"fields": {"sizes": "6 5 0"}}, "sizes is 6 5 0; must be"),
    "dimension": ({"fields": {"dimension": "2"}}, "sizes is 6 5 4; must be as many"),
    "longer": ({"data": BYTES + b"1"}, "241 bytes of voxels, .* describes 240"),
    "cut": ({"data": BYTES[:-1]}, "truncated, 239 bytes of 240"),
    "packed, cut": (
        {"fields": {"encoding": "gzip"}, "data": gzip.compress(BYTES)[:-9]},
        "truncated or damaged after 0 of 240 unpacked bytes",
    ),
    "packed, checksum": (
        {"fields": {"encoding": "gzip"}, "data": gzip.compress(BYTES)[:-8] + b"12345678"},
        "CRC check failed",
    ),
    "channels": (
        {
            "fields": {
                **{"dimension": "4", "sizes": "2 6 5 2", "kinds": "list domain domain domain"},
                "space directions": "none (.7,0,0) (0,.8,0) (0,0,2.5)",
            }
        },
        r"6x5x2 with 2 channel\(s\)",
    ),
}


@pytest.mark.parametrize(("header", "message"), WRONG.values(), ids=WRONG)
def test_headers_that_contradict_themselves_are_refused(tmp_path, header, message):
    path = write_nrrd(tmp_path / "a.nrrd", **header)
    with pytest.raises(ScanError, match=message) as error:
        scan.read_scan(path)
    assert str(path) in str(error.value)


def test_images_need_no_geometry(tmp_path):
    path = write_nrrd(tmp_path / "a.nrrd", without=("space", "space directions", "space origin"))
    np.testing.assert_array_equal(read_image(path), VOXELS)
