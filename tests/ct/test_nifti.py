"""Headers of NIfTI that contradict themselves or state what SimpleITK ignores."""

import gzip
import struct

import numpy as np
import pytest
from ct.raw_files import ORIGIN, SPACING, VOXELS, nifti_header, write_nifti

from inres.ct import scan
from inres.ct.header import ScanError
from inres.ct.image import read_image

NAN = float("nan")
X, Y, Z = SPACING
TURNED = tuple(np.ravel(((X, 0, 0, 100), (0, Y, 0, -50), (0, 0, Z, 20))))
HALF = tuple(np.ravel(((-X / 2, 0, 0, 100), (0, -Y / 2, 0, -50), (0, 0, Z / 2, 20))))
SHEARED = tuple(np.ravel(((-X, 0.4, 0, 100), (0, -Y, 0, -50), (0, 0, Z, 20))))


def require_same(volume):
    np.testing.assert_array_equal(volume.hu, VOXELS)
    np.testing.assert_allclose(volume.spacing_mm, SPACING, rtol=1e-6)
    np.testing.assert_allclose(volume.origin_mm, ORIGIN, rtol=1e-6)
    np.testing.assert_allclose(volume.direction, np.eye(3), atol=1e-6)


READ = {
    "plain": {},
    "swapped": {"order": ">"},
    "no scale": {"scale": (NAN, NAN)},
    "zero scale": {"scale": (0, 0)},
    "qform": {"codes": (1, 0)},
    "sform": {"codes": (0, 2)},
    "no unit": {"units": (0,)},
    "micrometres": {
        "units": (3,),
        "pixdim": (1, 700, 800, 2500, 0, 0, 0, 0),
        "rows": tuple(1000 * np.ravel(((-X, 0, 0, 100), (0, -Y, 0, -50), (0, 0, Z, 20)))),
        "offset": (100_000, -50_000, 20_000),
    },
    "more dimensions": {"dim": (5, 6, 5, 4, 1, 1, 1, 1)},
}


@pytest.mark.parametrize("header", READ.values(), ids=READ)
def test_headers_that_are_right_are_read(tmp_path, header):
    require_same(scan.read_scan(write_nifti(tmp_path / "a.nii", **header)))


def test_pairs_and_packed_files_are_read(tmp_path):
    head = nifti_header(magic=(b"ni1\0",), vox_offset=(0,))
    (tmp_path / "a.hdr").write_bytes(head)
    (tmp_path / "a.img").write_bytes(VOXELS.tobytes())
    for suffix in (".hdr", ".img"):
        require_same(scan.read_scan(tmp_path / f"a{suffix}"))
    packed = tmp_path / "a.nii.gz"
    packed.write_bytes(gzip.compress(write_nifti(tmp_path / "b.nii").read_bytes()))
    require_same(scan.read_scan(packed))
    (tmp_path / "a.img").write_bytes(VOXELS.tobytes()[:-10])
    with pytest.raises(ScanError, match=r"a\.img: truncated, 230 bytes of 240 \(for a\.hdr\)"):
        scan.read_header(tmp_path / "a.hdr")
    (tmp_path / "a.img").unlink()
    with pytest.raises(ScanError, match=r"a\.hdr: its data file .*a\.img is missing"):
        scan.read_header(tmp_path / "a.hdr")
    (tmp_path / "a.hdr").rename(tmp_path / "c.hdr")
    (tmp_path / "a.img").write_bytes(VOXELS.tobytes())
    with pytest.raises(ScanError, match="belong together"):
        scan.read_header(tmp_path / "a.img")


WRONG = {
    "no orientation": ({"codes": (0, 0)}, "neither qform nor sform is set"),
    "two orientations": ({"rows": TURNED}, "qform and sform place its voxels differently"),
    "two heights": ({"offset": (100, -50, 20.3)}, "qform and sform place its voxels differently"),
    "two positions": ({"offset": (0, 0, 0)}, "qform and sform place its voxels differently"),
    "sform's spacing": ({"rows": HALF, "codes": (0, 1)}, "pixdim is .*, but the spacing of sform"),
    "sheared": ({"rows": SHEARED, "codes": (0, 1)}, "spacing of sform|orthonormal"),
    "no rotation": ({"quaternion": (1, 1, 1)}, "is no rotation"),
    "empty sform": ({"rows": (0,) * 12, "codes": (0, 1)}, "spacing of sform"),
    "NaN": ({"rows": (NAN,) * 12, "codes": (0, 1)}, "spacing of sform"),
    "negative": ({"pixdim": (1, -X, Y, Z, 0, 0, 0, 0)}, "pixdim is .*; must be above 0"),
    "no spacing": ({"pixdim": (1, 0, 0, 0, 0, 0, 0, 0)}, "pixdim is .*; must be above 0"),
    "metres for mm": ({"units": (1,)}, "must be in mm"),
    "micrometres for mm": ({"units": (3,)}, "must be in mm"),
    "unknown unit": ({"units": (6,)}, "xyzt_units is 6"),
    "two times": ({"dim": (4, 6, 5, 2, 2, 1, 1, 1)}, "6x5x2x2 with 1 channel"),
    "dimensions": ({"dim": (2, 6, 5, 4, 1, 1, 1, 1)}, "240 bytes of voxels, .* describes 60"),
    "no dimensions": ({"dim": (0, 6, 5, 4, 1, 1, 1, 1)}, r"dim is \[0, 6, 5, 4, .*must be 1 to 7"),
    "nine dimensions": ({"dim": (9, 6, 5, 4, 1, 1, 1, 1)}, "must be 1 to 7"),
    "negative size": ({"dim": (3, 6, 5, -4, 1, 1, 1, 1)}, "sizes above 0"),
    "a slice more": ({"dim": (3, 6, 5, 5, 1, 1, 1, 1)}, "truncated, 240 bytes of 300"),
    "a slice less": ({"dim": (3, 6, 5, 3, 1, 1, 1, 1)}, "240 bytes of voxels, .* describes 180"),
    "in the header": ({"vox_offset": (0,)}, "vox_offset is 0.0; must be 352 or more"),
    "beyond the end": ({"vox_offset": (400,)}, "truncated, 192 bytes of 240"),
    "no offset": ({"vox_offset": (NAN,)}, "vox_offset is nan"),
    "bits": ({"type": (4, 32)}, "datatype is 4 with bitpix 32; must agree"),
    "unknown type": ({"type": (9999, 16)}, "datatype is 9999"),
    "offset without slope": ({"scale": (0, -1024)}, "scl_slope is 0.0 with scl_inter -1024.0"),
    "slope upside down": ({"scale": (-1, 0)}, "scl_slope is -1.0"),
    "slope of nothing": ({"scale": (1e-40, 0)}, "scl_slope is .*; must be above 0"),
    "slope without offset": ({"scale": (2, NAN)}, "scl_slope is 2.0 with scl_inter nan"),
    "Analyze": ({"magic": (bytes(4),)}, "so Analyze, whose left and right are unknown"),
    "longer": ({"data": VOXELS.tobytes() + b"1"}, "241 bytes of voxels, .* describes 240"),
}


@pytest.mark.parametrize(("header", "message"), WRONG.values(), ids=WRONG)
def test_headers_that_contradict_themselves_are_refused(tmp_path, header, message):
    path = write_nifti(tmp_path / "a.nii", **header)
    with pytest.raises(ScanError, match=message) as error:
        scan.read_scan(path)
    assert str(path) in str(error.value)


def test_images_need_no_geometry(tmp_path):
    path = write_nifti(tmp_path / "a.nii", codes=(0, 0), pixdim=(0,) * 8)
    np.testing.assert_array_equal(read_image(path), VOXELS)


def test_wrong_endings_and_other_versions_are_named(tmp_path):
    path = write_nifti(tmp_path / "a.nii")
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ScanError, match=r"compressed with gzip; call it a\.nii\.gz"):
        scan.read_header(path)
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(content)
    with pytest.raises(ScanError, match="Not a gzipped file"):
        scan.read_header(packed)
    path.write_bytes(struct.pack("<i", 540) + bytes(900))
    with pytest.raises(ScanError, match="NIfTI-2, which is not supported"):
        scan.read_header(path)
    path.write_bytes(b"<html>" + bytes(900))
    with pytest.raises(ScanError, match="not a NIfTI header"):
        scan.read_header(path)


@pytest.mark.parametrize("damage", ["cut", "checksum", "garbage", "flipped"])
def test_damaged_gzip_is_named(tmp_path, damage):
    path = tmp_path / "a.nii.gz"
    packed = gzip.compress(write_nifti(tmp_path / "b.nii").read_bytes())
    middle = len(packed) // 2
    path.write_bytes(
        {
            "cut": packed[:-20],
            "checksum": packed[:-8] + b"1234" + packed[-4:],
            "garbage": packed + b"garbage",
            "flipped": packed[:middle] + bytes([packed[middle] ^ 255]) + packed[middle + 1 :],
        }[damage]
    )
    with pytest.raises(ScanError, match=r"a\.nii\.gz: truncated or damaged.*fetch it again"):
        scan.read_scan(path)
