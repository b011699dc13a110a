"""No header makes SimpleITK read a file that was not found and checked before."""

import numpy as np
import pytest
import SimpleITK as sitk

from inres.ct import formats, header, listing, scan
from inres.ct.header import ScanError
from inres.ct.image import read_image

SIDE, SECRET = 8, 1234
META = (
    b"ObjectType = Image\nNDims = 3\nDimSize = 8 8 8\nElementSpacing = 1 1 1\nOffset = 0 0 0\n"
    b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nBinaryData = True\nElementType = MET_SHORT\n"
)
NRRD = (
    b"NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 8 8 8\nendian: little\n"
    b"space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n"
)
LINE = b"Comment = "
HIDDEN = {
    # The field that ends the header for us is a part of another line for SimpleITK, or the reverse.
    **{
        f"{length} bytes.mhd": [LINE.ljust(length, b"x") + b"ElementDataFile = LOCAL\n"]
        for length in (255, 256, 500, 1023, 1024, 4000, 4001, 4002, 4095, 4096)
    },
    "space.mhd": [b"\xc2\xa0ElementDataFile = LOCAL\n"],
    "tab.mhd": [b"\x0bElementDataFile = LOCAL\n"],
    "capitals.mhd": [b"elementdatafile = LOCAL\n"],
    "colon.mhd": [b"ElementDataFile: %b\0= x\n", b"ElementDataFile = LOCAL\n"],
    "colon in line.mhd": [b"ElementDataFile: %b\r= x\n", b"ElementDataFile = LOCAL\n"],
    "return.mhd": [b"Comment = x\rElementDataFile = LOCAL\n"],
    "0 byte.mhd": [b"Comment = x\0\nElementDataFile = LOCAL\n"],
    "comments.nrrd": [b"# x\n" * 1000],
    **{
        f"{length} bytes.nrrd": [b"#".ljust(length, b"x") + b"\n"]
        for length in (1000, 4000, 4002, 65535, 65536, 65537)
    },
    **{
        f"line of {line!r}.nrrd": [line + b"\n"]
        for line in (b"\x0b", b"\x0c", b"\x1c", b"\0", b"\r", b"\xc2\x85", b"\xc2\xa0", b" ")
    },
    "key.nrrd": [b"data file:=%b\n"],
}


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize("absolute", [True, False])
def test_a_file_that_was_not_checked_is_not_read(tmp_path, name, absolute):
    np.full((SIDE,) * 3, SECRET, "<i2").tofile(tmp_path / "secret.raw")
    (tmp_path / "scans").mkdir()
    path = tmp_path / "scans" / f"a.{name.rpartition('.')[2]}"
    secret = str(tmp_path / "secret.raw") if absolute else "../secret.raw"
    last = b"ElementDataFile = %b\n" if path.suffix == ".mhd" else b"data file: %b\n\n"
    last = last.replace(b"%b", secret.encode())
    hidden = b"".join(HIDDEN[name]).replace(b"%b", secret.encode())
    start = META if path.suffix == ".mhd" else NRRD
    # What is header for SimpleITK counts as voxels for whoever does not see it.
    path.write_bytes((start + hidden + last).ljust(len(start + hidden) + 2 * SIDE**3, b"\0"))
    try:
        checked = formats.data_files(path)
        read = scan.read_scan(path).hu
    except ScanError:
        return
    assert checked or not (read == SECRET).any()


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.dat"])
def test_a_picture_that_holds_a_header_of_scans_is_refused(tmp_path, name):
    np.full((SIDE,) * 3, SECRET, "<i2").tofile(tmp_path / "secret.raw")
    (tmp_path / name).write_bytes(NRRD + b"data file: secret.raw\n\n")
    with pytest.raises(ScanError, match=r"no format of pictures|not an image"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("ending", [*listing.SCANS, ".img", ".img.gz", ".NRRD"])
def test_every_header_is_checked_by_the_format_that_reads_it(tmp_path, ending, monkeypatch):
    path, asked = tmp_path / f"a{ending}", []
    reader = header.reader_by_name(path)
    monkeypatch.setitem(formats._DESCRIBE, reader, asked.append)
    formats.check_data_file(path, deep=False)
    assert asked == [path]
    assert reader in sitk.ImageFileReader().GetRegisteredImageIOs()
