"""Files that belong to a scan are noticed when they change."""

import os

import pytest

from inres.ct.parts import stamp


@pytest.mark.parametrize(
    ("name", "header", "data"),
    [
        ("a.mhd", "NDims = 3\nElementDataFile = other name.zraw\n", "other name.zraw"),
        ("a.mhd", "ElementDataFile=deep/a.raw", "deep/a.raw"),
        ("a.mhd", "ElementDataFile = LIST\n0.raw\n1.raw\n", "1.raw"),
        ("a.mhd", "ElementDataFile = %d.raw 0 1 1\n", "1.raw"),
        ("a.mha", "ElementDataFile = LOCAL\n\x00", "a.mha"),
        ("a.nhdr", "NRRD0004\ntype: short\ndata file: a.raw.gz\n", "a.raw.gz"),
        ("a.nhdr", "NRRD0004\r\ndatafile: ./a.raw\r\n", "a.raw"),
        ("a.nrrd", "NRRD0004\ntype: short\n\n\x00", "a.nrrd"),
        ("a.hdr", "x", "a.img"),
        ("a.nii.gz", "x", "a.nii.gz"),
    ],
)
def test_the_data_file_of_a_header_counts(tmp_path, name, header, data):
    (tmp_path / "deep").mkdir()
    path, voxels = tmp_path / name, tmp_path / data
    path.write_bytes(header.encode())
    missing = stamp(path)
    assert [file for file, _, _ in missing] == [
        str(p) for p in sorted(tmp_path.iterdir()) if p == path or "LIST" in header or "%" in header
    ]
    if voxels != path:
        voxels.write_bytes(b"1")
        assert stamp(path) != missing
    before = stamp(path)
    assert stamp(path) == before
    status = voxels.stat()
    os.utime(voxels, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    later = stamp(path)
    assert later != before
    with open(voxels, "ab") as file:
        file.write(b"more")
    os.utime(voxels, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert stamp(path) != later


def test_every_file_of_a_dicom_folder_counts(tmp_path):
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(b"x")
    both = stamp(tmp_path)
    (tmp_path / "2.dcm").write_bytes(b"xy")
    changed = stamp(tmp_path)
    (tmp_path / "2.dcm").rename(tmp_path / "3.dcm")
    renamed = stamp(tmp_path)
    (tmp_path / "3.dcm").unlink()
    assert len({both, changed, renamed, stamp(tmp_path)}) == 4


def test_an_absent_file_has_an_empty_stamp(tmp_path):
    assert stamp(tmp_path / "none.mhd") == ()
