"""Scans and pictures in folders, recognised by names and first bytes."""

import os

import pytest

from inres.ct import listing
from inres.ct.header import ScanError

DICOM = b"DICM".rjust(132, b"\0")


def make(root, **contents):
    for name, content in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.fixture
def tree(tmp_path):
    files = {
        **{"a10.mhd": b"12345", "a10.raw": b"", "a2.NII.GZ": b"", "b.txt": b"", "._a.mhd": b""},
        **{"CT/one/IM1": DICOM, "CT/one/IM2": DICOM, "CT/two.nrrd": b"", "empty/x.txt": b""},
    }
    make(tmp_path, **files)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "gone.mhd").symlink_to("nothing")
    os.mkfifo(tmp_path / "pipe.mhd")
    return tmp_path


def found(folder):
    return [(entry.path.name, entry.kind, entry.bytes) for entry in listing.entries(folder)]


def test_entries_are_scans_and_folders_in_the_order_of_their_numbers(tree):
    assert found(tree) == [
        ("a2.NII.GZ", "scan", 0),
        ("a10.mhd", "scan", 5),
        ("CT", "folder", None),
        ("empty", "folder", None),
    ]
    assert found(tree / "CT") == [("one", "series", None), ("two.nrrd", "scan", 0)]
    assert found(tree / "CT" / "one") == [("one", "series", None)]
    assert found(tree / "empty") == []
    with pytest.raises(OSError, match="nothing"):
        listing.entries(tree / "nothing")


def test_the_one_scan_of_a_folder(tmp_path):
    cases = {
        "mhd": ({"x/a.mhd": b"", "x/a.raw": b"", "notes.txt": b""}, "x/a.mhd"),
        "dicom": ({"x/y/IM1": DICOM, "x/y/IM2": DICOM}, "x/y"),
        "folders": ({"x/1/IM1": DICOM, "x/2/IM2": DICOM}, "x"),
        "file": ({"x/enhanced.dcm": DICOM}, "x/enhanced.dcm"),
    }
    for name, (files, path) in cases.items():
        make(tmp_path / name, **files)
        assert listing.scan_in(tmp_path / name) == tmp_path / name / path
    for name, files, message in (
        ("two", {"a.mhd": b"", "b.nrrd": b""}, r"2 scans \(a.mhd, b.nrrd"),
        ("data", {"a.zraw": b""}, "voxels without their header"),
        ("none", {"a.txt": b"x"}, "no scan; give a .mhd"),
    ):
        make(tmp_path / name, **files)
        with pytest.raises(ScanError, match=message):
            listing.scan_in(tmp_path / name)


def test_pictures_of_a_folder(tmp_path):
    make(tmp_path / "one", **{"a.PNG": b"x"})
    make(tmp_path / "two", **{"x/a1.png": b"x", "x/a2.jpg": b"x"})
    make(tmp_path / "stack", **{"a.mhd": b"x", "a.raw": b"x"})
    (tmp_path / "empty").mkdir()
    assert listing.are_pictures(tmp_path / "one")
    assert listing.are_pictures(tmp_path / "two")
    assert not listing.are_pictures(tmp_path / "stack")
    assert not listing.are_pictures(tmp_path / "empty")
    assert listing.images_in(tmp_path / "one") == tmp_path / "one" / "a.PNG"
    assert listing.images_in(tmp_path / "two") == tmp_path / "two" / "x"
    assert listing.images_in(tmp_path / "stack") == tmp_path / "stack" / "a.mhd"
    with pytest.raises(ScanError, match="no image"):
        listing.images_in(tmp_path / "empty")
