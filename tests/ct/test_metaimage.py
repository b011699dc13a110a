"""Headers of MetaImage that contradict themselves or state what SimpleITK ignores."""

import dataclasses
import zlib

import numpy as np
import pytest
from ct.raw_files import ORIGIN, SPACING, VOXELS, write_metaimage, write_nifti, write_nrrd

from inres.ct import scan
from inres.ct.header import ScanError
from inres.ct.image import read_image

BYTES = VOXELS.astype("<i2").tobytes()


def require_same(volume, *, origin=ORIGIN):
    np.testing.assert_array_equal(volume.hu, VOXELS)
    np.testing.assert_allclose(volume.spacing_mm, SPACING, rtol=1e-6)
    np.testing.assert_allclose(volume.origin_mm, origin, rtol=1e-6)
    np.testing.assert_allclose(volume.direction, np.eye(3), atol=1e-6)


READ = {
    "plain": {},
    "extra fields": {"fields": {"Comment": "a = b; c", "Name": "x", "Modality": "MET_MOD_CT"}},
    "thickness for spacing": {
        "fields": {"ElementSize": "0.7 0.8 2.5"},
        "without": ("ElementSpacing",),
    },
    "thicker slices": {"fields": {"ElementSize": "0.7 0.8 5"}},
    "same twice": {"fields": {"Position": "-100.0 50 2e1", "ElementByteOrderMSB": "False"}},
    "other name": {"fields": {"Origin": "-100 50 20"}, "without": ("Offset",)},
    "orientation": {"fields": {"AnatomicalOrientation": "RAI", "DistanceUnits": "mm"}},
    "no orientation": {"fields": {"AnatomicalOrientation": "???"}},
    "header": {"fields": {"HeaderSize": "7"}, "data": b"1234567" + BYTES},
    "end of file": {"fields": {"HeaderSize": "-1"}, "data": b"1234567" + BYTES},
    "line ends": {"text": lambda text: text.replace("\n", "\r\n")},
    "byte order mark": {"text": lambda text: "\ufeff" + text},
    "no spaces": {"text": lambda text: text.replace(" = ", "=")},
    "no scale": {"fields": {"ElementToIntensityFunctionSlope": "1.0"}},
    "other words": {"fields": {"BinaryData": "T", "CompressedData": "0", "Comment": "offset"}},
    "turned": {"fields": {"Orientation": "1 0 0 0 1 0 0 0 1"}, "without": ("TransformMatrix",)},
    "packed": {
        "fields": {"CompressedData": "True"},
        "data": zlib.compress(BYTES),
    },
}


@pytest.mark.parametrize("header", READ.values(), ids=READ)
def test_headers_that_are_right_are_read(tmp_path, header):
    path = write_metaimage(tmp_path / "a.mhd", **header)
    require_same(scan.read_scan(path))
    assert scan.read_header(path).notes == scan.read_scan(path).notes == ()


def test_slices_in_files_of_their_own_and_names_in_any_script(tmp_path):
    for number, plane in enumerate(VOXELS):
        (tmp_path / f"\u80ba{number:02d}.raw").write_bytes(plane.astype("<i2").tobytes())
    names = "\n".join(f"\u80ba{number:02d}.raw" for number in range(4))
    for target in (f"LIST\n{names}", f"LIST 2D\n{names}", "\u80ba%02d.raw 0 3 1"):
        path = write_metaimage(tmp_path / "a.mhd", fields={"ElementDataFile": target})
        require_same(scan.read_scan(path))
    (tmp_path / "\u80ba02.raw").write_bytes(b"1234")
    with pytest.raises(ScanError, match=r"\u80ba02\.raw: truncated, 4 bytes of 60 \(for a\.mhd\)"):
        scan.read_header(path)
    (tmp_path / "\u80ba02.raw").unlink()
    with pytest.raises(ScanError, match=r"a\.mhd: its data file .*\u80ba02\.raw is missing"):
        scan.read_header(path)
    for target in ("LIST\na.raw\nb.raw", "s%02d.raw 0 4 1", "s%d.raw 1 999999999999 1"):
        write_metaimage(path, fields={"ElementDataFile": target})
        with pytest.raises(ScanError, match=r"a\.mhd: (2|5|999999999999) data files for 4 slices"):
            scan.read_header(path)
    many = {"DimSize": "1 1 9999999", "ElementDataFile": "s%d.raw 1 9999999 1"}
    write_metaimage(path, fields=many)
    with pytest.raises(ScanError, match=r"a\.mhd: 9999999 data files, too many for a scan"):
        scan.read_header(path)
    for target in (
        "s%0999999999d 0 3 1",
        "%s 0 3 1",
        "%d%s 0 3 1",
        "s%d.raw 3 0 -1",
        "50%.raw",
        "LIST 3\na.raw",
    ):
        write_metaimage(path, fields={"ElementDataFile": target})
        with pytest.raises(ScanError, match=r"a\.mhd: ElementDataFile is .*; must be"):
            scan.read_header(path)


def test_a_name_that_would_crash_simpleitk_is_refused(tmp_path):
    for number in range(1, 5):
        (tmp_path / str(number)).write_bytes(VOXELS[number - 1].astype("<i2").tobytes())
    path = write_metaimage(tmp_path / "a.mhd", fields={"ElementDataFile": "%s 1 4 1"})
    with pytest.raises(ScanError, match="ElementDataFile is %s 1 4 1; must be a pattern such as"):
        scan.read_scan(path)


@pytest.mark.parametrize("name", ["offset", "Transform Matrix", "Element_Spacing", "HEADERSIZE"])
def test_names_of_fields_that_simpleitk_would_ignore_are_refused(tmp_path, name):
    path = write_metaimage(tmp_path / "a.mhd", fields={name: "1 2 3"})
    with pytest.raises(ScanError, match=f"a.mhd: {name} is no known field, but .* is; rename it"):
        scan.read_header(path)


def test_a_geometry_that_simpleitk_understands_otherwise_is_refused(tmp_path, monkeypatch):
    path = write_metaimage(tmp_path / "a.mhd")
    header = scan.header_of
    moved = {"origin_mm": (-100.0, 51.0, 20.0)}
    monkeypatch.setattr(scan, "header_of", lambda *a: dataclasses.replace(header(*a), **moved))
    with pytest.raises(ScanError, match=r"a\.mhd: its fields place the voxels at .*but SimpleITK"):
        scan.read_header(path)


@pytest.mark.parametrize(
    "name", ["sp ace", "\u80ba", "$x$", "-d", "q'q", "[b]{c};", "tab\tx", "x" * 200]
)
def test_names_of_files_are_as_free_as_the_system_leaves_them(tmp_path, name):
    require_same(scan.read_scan(write_metaimage(tmp_path / f"{name}.mhd")))
    require_same(scan.read_scan(write_nifti(tmp_path / f"{name}.nii")))
    require_same(scan.read_scan(write_nrrd(tmp_path / f"{name}.nrrd")))


def test_an_ending_in_capitals_is_read(tmp_path):
    write_metaimage(tmp_path / "a.mhd").rename(tmp_path / "A.MHD")
    require_same(scan.read_scan(tmp_path / "A.MHD"))


HUGE = "4294967296 4294967296 16"
WRONG = {
    "no spacing": ({"without": ("ElementSpacing",)}, "ElementSpacing is missing"),
    "negative": ({"fields": {"ElementSpacing": "-0.7 0.8 2.5"}}, "must be 3 numbers above 0"),
    "zero": ({"fields": {"ElementSpacing": "0 0.8 2.5"}}, "must be 3 numbers above 0"),
    "NaN": ({"fields": {"ElementSpacing": "nan 0.8 2.5"}}, "must be 3 numbers above 0"),
    "two": ({"fields": {"ElementSpacing": "0.7 0.8"}}, "must be 3 numbers above 0"),
    "other size": ({"fields": {"ElementSize": "1 1 2.5"}}, "ElementSpacing is .*, ElementSize 1 1"),
    "micrometres": ({"fields": {"ElementSpacing": "700 800 2500"}}, "must be in mm"),
    "metres": ({"fields": {"ElementSpacing": "7e-4 8e-4 2e-3"}}, "must be in mm"),
    "unit": ({"fields": {"DistanceUnits": "um"}}, "DistanceUnits is um; must be mm"),
    "two origins": ({"fields": {"Position": "1 2 3"}}, "Offset is .*, but Position.*is 1 2 3"),
    "short origin": ({"fields": {"Offset": "1 2"}}, "Offset is 1 2; must be 3 numbers"),
    "two matrices": ({"fields": {"Rotation": "0 1 0 1 0 0 0 0 1"}}, "but Rotation, which means"),
    "two orders": ({"fields": {"ElementByteOrderMSB": "True"}}, "but ElementByteOrderMSB"),
    "sheared": ({"fields": {"TransformMatrix": "1 0 0 .5 1 0 0 0 1"}}, "not perpendicular"),
    "scaled": (
        {"fields": {"TransformMatrix": "2 0 0 0 2 0 0 0 2"}},
        "not perpendicular and of len",
    ),
    "singular": ({"fields": {"TransformMatrix": "1 0 0 1 0 0 0 0 1"}}, "not perp"),
    "short matrix": ({"fields": {"TransformMatrix": "1 0 0 1"}}, "must be 9 numbers"),
    "only letters": (
        {"fields": {"AnatomicalOrientation": "LPI"}, "without": ("TransformMatrix",)},
        "AnatomicalOrientation is LPI, but TransformMatrix, which is used, is missing",
    ),
    "overflow": ({"fields": {"DimSize": HUGE}}, "truncated, 240 bytes of 590295810358705651712"),
    "overflow, packed": (
        {"fields": {"DimSize": HUGE, "CompressedData": "True"}, "data": zlib.compress(BYTES)},
        "truncated, .* cannot hold 590295810358705651712",
    ),
    "no voxels": ({"fields": {"DimSize": "6 5 0"}}, "DimSize is 6 5 0; must be 3 whole numbers"),
    "fewer than none": ({"fields": {"DimSize": "-6 -5 4"}}, "DimSize is -6 -5 4; must be 3"),
    "two sizes": ({"fields": {"DimSize": "6 20"}}, "DimSize is 6 20; must be 3"),
    "four sizes": ({"fields": {"DimSize": "6 5 4 1"}}, "DimSize is 6 5 4 1; must be 3"),
    "dimensions": ({"fields": {"NDims": "2"}}, r"must be 2 whole numbers above 0 \(NDims\)"),
    "a slice less": ({"fields": {"DimSize": "6 5 3"}}, "240 bytes of voxels, .* describes 180"),
    "a slice more": ({"fields": {"DimSize": "6 5 5"}}, "truncated, 240 bytes of 300"),
    "smaller type": (
        {"fields": {"ElementType": "MET_CHAR"}},
        "240 bytes of voxels, .* 120; correct",
    ),
    "larger type": ({"fields": {"ElementType": "MET_FLOAT"}}, "truncated, 240 bytes of 480"),
    "unknown type": ({"fields": {"ElementType": "MET_FOO"}}, "ElementType is MET_FOO; must be one"),
    "channels": ({"fields": {"ElementNumberOfChannels": "2"}}, "truncated, 240 bytes of 480"),
    "hidden header": ({"data": bytes(352) + BYTES}, "592 bytes of voxels, .* describes 240"),
    "text": ({"fields": {"BinaryData": "False"}}, "BinaryData is False"),
    "no truth": ({"fields": {"BinaryDataByteOrderMSB": "yes"}}, "is yes; must be True or False"),
    "no dimensions": ({"without": ("NDims",)}, "NDims is missing; must be whole numbers"),
    "dimensions last": (
        {
            "text": lambda text: text.replace("NDims = 3\n", "").replace(
                "Elem", "NDims = 3\nElem", 1
            )
        },
        "NDims is 3; must come before TransformMatrix",
    ),
    "underscores": ({"fields": {"ElementSpacing": "0.7 0.8 2_5"}}, "must be 3 numbers above 0"),
    "other digits": ({"fields": {"Offset": "\uff11 2 3"}}, "Offset is .*; must be 3 numbers"),
    "short size": ({"fields": {"ElementSize": "0.7 0.8"}}, "ElementSize is 0.7 0.8; must be 3"),
    "before the start": ({"fields": {"HeaderSize": "-2"}}, "HeaderSize is -2; must be 0 where"),
    "header, packed": (
        {
            "fields": {"HeaderSize": "7", "CompressedData": "True"},
            "data": b"1234567" + zlib.compress(BYTES),
        },
        "HeaderSize is 7; must be 0 where voxels are compressed",
    ),
    "header, local": (
        {"fields": {"HeaderSize": "7", "ElementDataFile": "LOCAL"}},
        "HeaderSize is 7; must be 0 where .* follow the header",
    ),
    "after the last": (
        {"text": lambda text: text + "Offset = 1 2 3\n"},
        "what follows ElementDataFile, its last field, is ignored; move",
    ),
    "slope": ({"fields": {"ElementToIntensityFunctionSlope": "2"}}, "must be 1: apply it"),
    "intercept": ({"fields": {"ElementToIntensityFunctionOffset": "-1024"}}, "must be 0: apply it"),
    "no CT": ({"fields": {"Modality": "MET_MOD_MR"}}, "Modality is MET_MOD_MR; .* only CT has HU"),
    "twice": (
        {"text": lambda text: "DimSize = 6 5 2\n" + text},
        "DimSize is 6 5 2 and, in line 10",
    ),
    "less packed": (
        {
            "fields": {"CompressedData": "True", "CompressedDataSize": "9"},
            "data": zlib.compress(BYTES),
        },
        "bytes of voxels, but the header of a.mhd describes 9",
    ),
    "not packed": ({"fields": {"CompressedData": "True"}}, "incorrect header check"),
    "wrong checksum": (
        {"fields": {"CompressedData": "True"}, "data": zlib.compress(BYTES)[:-4] + b"1234"},
        "damaged after 0 of 240 unpacked bytes .*incorrect data check",
    ),
    "absent": ({"fields": {"ElementDataFile": "b.raw"}}, r"its data file .*b\.raw is missing"),
    "device": (
        {"fields": {"ElementDataFile": "/dev/zero"}},
        "data file /dev/zero is a pipe or device, not a regular file",
    ),
    "elsewhere": ({"fields": {"ElementDataFile": "/etc/hostname"}}, "/etc/hostname: truncated"),
}


@pytest.mark.parametrize(("header", "message"), WRONG.values(), ids=WRONG)
def test_headers_that_contradict_themselves_are_refused(tmp_path, header, message):
    path = write_metaimage(tmp_path / "a.mhd", **header)
    with pytest.raises(ScanError, match=message) as error:
        scan.read_scan(path)
    assert "a.mhd" in str(error.value)


def test_images_need_no_geometry(tmp_path):
    path = write_metaimage(tmp_path / "a.mhd", without=("ElementSpacing", "TransformMatrix"))
    np.testing.assert_array_equal(read_image(path), VOXELS)


@pytest.mark.parametrize(
    ("header", "note"),
    [
        (
            {"without": ("TransformMatrix",)},
            "TransformMatrix is missing; taken for axial slices in LPS",
        ),
        ({"without": ("Offset",)}, "Offset is missing; taken for 0 0 0, so positions are relative"),
        (
            {"fields": {"AnatomicalOrientation": "LPI"}},
            "AnatomicalOrientation is LPI, but TransformMatrix, which is used, means RAI",
        ),
    ],
)
def test_what_is_assumed_is_noted(tmp_path, header, note):
    volume = scan.read_scan(write_metaimage(tmp_path / "a.mhd", **header))
    require_same(volume, origin=ORIGIN if "Offset" not in header.get("without", ()) else (0, 0, 0))
    (found,) = volume.notes
    assert found.startswith(note)


@pytest.mark.parametrize("axes", ["RAI", "LPI", "RPS", "IRA", "ASR"])
def test_letters_of_an_orientation_are_those_of_simpleitk(tmp_path, axes):
    import SimpleITK as sitk

    ends = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "I": (0, 0, 1)}
    ends["S"] = (0, 0, -1)
    image = sitk.GetImageFromArray(VOXELS)
    image.SetDirection(np.array([ends[letter] for letter in axes], float).T.ravel().tolist())
    path = tmp_path / "a.mhd"
    sitk.WriteImage(image, str(path))
    assert f"AnatomicalOrientation = {axes}" in path.read_text()
    assert scan.read_scan(path).notes == ()
