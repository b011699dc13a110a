"""Pictures that SimpleITK completes, turns around or reads as another type."""

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from ct.raw_files import write_metaimage
from PIL import Image

from inres.ct import scan
from inres.ct.header import ScanError
from inres.ct.image import read_image
from inres.ct.pictures import damage_reported

GREY = np.random.default_rng(0).integers(0, 255, (40, 48)).astype(np.uint8)
HU = (GREY.astype(np.int16) - 128) * 8


def encoded(kind, array=GREY, **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["png", "bmp", "jpeg", "tiff"])
@pytest.mark.parametrize("cut", [1, 2, 40, 300, 0.5])
def test_no_truncated_picture_is_read(tmp_path, kind, cut):
    options = {"progressive": True} if cut == 300 and kind == "jpeg" else {}
    data = encoded(kind, **options)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(data)
    if kind != "jpeg":
        np.testing.assert_array_equal(read_image(path), GREY)
    elif not options:
        assert np.abs(read_image(path).astype(int) - GREY).mean() < 12
    end = data.rstrip(b"\0") if kind == "bmp" else data
    path.write_bytes(end[: int(len(data) * cut)] if cut < 1 else end[:-cut])
    with pytest.raises(ScanError, match=rf"a\.{kind}: .*(truncated|damaged|not an image)"):
        read_image(path)


def test_a_wrong_checksum_of_a_png_is_damage(tmp_path):
    data = bytearray(encoded("png"))
    data[200] ^= 255
    (tmp_path / "a.png").write_bytes(bytes(data))
    with pytest.raises(ScanError, match=r"a\.png: .*damaged"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["jpeg", "png", "tiff"])
@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_a_turned_picture_is_refused(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{kind}"
    path.write_bytes(encoded(kind, exif=exif))
    with pytest.raises(ScanError, match=rf"a\.{kind}: its orientation tag is {orientation}"):
        read_image(path)
    exif[274] = 1
    path.write_bytes(encoded(kind, exif=exif))
    assert read_image(path).shape == GREY.shape


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_colours_of_printers_are_refused(tmp_path, kind):
    four = Image.merge("CMYK", [Image.fromarray(GREY)] * 4)
    path = tmp_path / f"a.{kind}"
    four.save(path)
    with pytest.raises(ScanError, match=r"CMYK|SEPARATED"):
        read_image(path)


def test_palettes_and_single_bits_are_read(tmp_path):
    for kind in ("png", "bmp"):
        image = Image.fromarray(GREY).convert("RGB").quantize(16)
        image.save(tmp_path / f"a.{kind}")
        expected = np.asarray(image.convert("L"))
        assert np.abs(read_image(tmp_path / f"a.{kind}").astype(int) - expected).max() <= 1
    for kind in ("png", "tiff"):
        Image.fromarray(GREY > 99).save(tmp_path / f"b.{kind}")
        np.testing.assert_array_equal(read_image(tmp_path / f"b.{kind}") > 0, GREY > 99)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "i2", ">i2", "i4", "f4"])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"bigtiff": True}], ids=str)
def test_every_type_of_tiff_is_read_as_it_is(tmp_path, dtype, options):
    values = (GREY if "u" in dtype else HU).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    found = read_image(tmp_path / "a.tif")
    assert found.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (HU.astype("f2"), {}, "float16 pixels, which cannot be read"),
        (np.tile(HU, (4, 4)), {"tile": (64, 64)}, "int16 pixels, which cannot be read"),
        (HU.astype("f8"), {}, "64-bit samples"),
        (GREY, {"photometric": "miniswhite"}, "MINISWHITE; save it as grey where 0 is black"),
        (HU, {"photometric": "miniswhite"}, "MINISWHITE"),
    ],
)
def test_other_tiff_is_refused(tmp_path, values, options, message):
    tifffile.imwrite(tmp_path / "a.tif", values, **options)
    with pytest.raises(ScanError, match=rf"a\.tif: .*{message}"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><p>404", "it holds a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it holds a pointer of Git LFS"),
        (b"\x1f\x8b\x08\0", "it holds gzip"),
        (encoded("jpeg"), "it holds a JPEG"),
        (encoded("gif"), "it holds a GIF"),
    ],
)
def test_what_a_file_holds_instead_is_said(tmp_path, content, what):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ScanError, match=rf"a\.png: not an image that SimpleITK can read \({what}"):
        read_image(tmp_path / "a.png")


def png(path, *chunks, depth=8):
    """Write GREY with further chunks (name, content) before its pixels."""

    def chunk(name, content):
        return (
            struct.pack(">I", len(content))
            + name
            + content
            + struct.pack(">I", zlib.crc32(name + content))
        )

    rows, columns = GREY.shape
    values = GREY if depth == 8 else (GREY.astype(">u2") * 257).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in values)
    head = struct.pack(">IIBBBBB", columns, rows, depth, 0, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


def test_bits_that_a_png_calls_insignificant_are_no_reason_to_shift_it(tmp_path):
    path = png(tmp_path / "a.png", (b"sBIT", b"\x08"), (b"gAMA", struct.pack(">I", 45455)))
    np.testing.assert_array_equal(read_image(path), GREY)
    for depth, bits in ((8, 4), (16, 12)):
        path = png(tmp_path / "b.png", (b"sBIT", bytes([bits])), depth=depth)
        with pytest.raises(ScanError, match=rf"b\.png: .*{bits} of {depth} bits as significant"):
            read_image(path)


def test_transparency_and_several_pictures_are_refused_unless_they_can_be_read(tmp_path):
    path = png(tmp_path / "a.png", (b"tRNS", struct.pack(">H", int(GREY[0, 0]))))
    with pytest.raises(ScanError, match=r"a\.png: grey with transparency; save it without"):
        read_image(path)
    with_alpha = np.stack([GREY, GREY[::-1]], axis=-1)
    (tmp_path / "b.png").write_bytes(encoded("png", with_alpha))
    with pytest.raises(ScanError, match=r"b\.png: grey with transparency"):
        read_image(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(encoded("png", np.dstack([GREY] * 4)))
    np.testing.assert_array_equal(read_image(tmp_path / "c.png"), GREY)
    for name, options in (
        ("two", {"photometric": "minisblack", "planarconfig": "contig"}),
        ("alpha", {"photometric": "minisblack", "extrasamples": ["unassalpha"]}),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", with_alpha, **options)
        with pytest.raises(ScanError, match=rf"{name}\.tif: 2 samples per pixel"):
            read_image(tmp_path / f"{name}.tif")
    four = np.dstack([GREY // 2] * 3 + [np.full_like(GREY, 128)])
    for kind, message in (("assocalpha", "4 samples per pixel, with transp"), ("unassalpha", "")):
        tifffile.imwrite(tmp_path / "d.tif", four, photometric="rgb", extrasamples=[kind])
        if message:
            with pytest.raises(ScanError, match=message):
                read_image(tmp_path / "d.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "d.tif"), GREY // 2)
    more = {"save_all": True, "append_images": [Image.fromarray(GREY[::-1])]}
    for kind in ("png", "mpo"):
        path = (tmp_path / f"e.{kind}").with_suffix(".jpg" if kind == "mpo" else ".png")
        path.write_bytes(encoded(kind, **more))
        with pytest.raises(ScanError, match=r"e\..*: 2 pictures in one file"):
            read_image(path)


def test_orientations_without_a_meaning_are_upright(tmp_path):
    exif = Image.Exif()
    for orientation in (0, 9, 99):
        exif[274] = orientation
        (tmp_path / "a.png").write_bytes(encoded("png", exif=exif))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), GREY)


def test_damage_inside_a_jpeg_is_found_as_far_as_its_reader_notices(tmp_path, capfd):
    data = bytearray(encoded("jpeg", quality=95))
    data[len(data) // 2 : len(data) // 2 + 20] = b"\x55" * 20
    (tmp_path / "a.jpg").write_bytes(bytes(data))
    with pytest.raises(ScanError, match=r"a\.jpg: damaged \(Corrupt JPEG data: .*fetch it again"):
        read_image(tmp_path / "a.jpg")
    assert capfd.readouterr().err == ""


def test_other_output_stays_where_it_belongs(tmp_path, capfd):
    """That of other threads, also if the file is damaged."""
    (tmp_path / "a.jpg").write_bytes(encoded("jpeg"))
    for damage in (b"", b"Corrupt JPEG data: bad\n"):
        wrong = pytest.raises(ScanError, match=r"damaged \(Corrupt JPEG data: bad\)")
        with wrong if damage else contextlib.nullcontext(), damage_reported(tmp_path / "a.jpg"):
            os.write(1, b"a result\n")
            os.write(2, b"a note\n" + damage + b"another")
        assert capfd.readouterr() == ("a result\n", "a note\nanother")


def test_a_program_without_input_and_output_reads_jpeg(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded("jpeg"))
    kept = [os.dup(handle) for handle in (0, 1)]
    os.closerange(0, 2)
    try:
        with damage_reported(tmp_path / "a.jpg"):
            pass
    finally:
        for handle, copy in enumerate(kept):
            os.dup2(copy, handle)
            os.close(copy)


def test_pages_that_are_a_ring_end(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([GREY, GREY]), photometric="minisblack")
    assert read_image(path).shape == (2, *GREY.shape)
    with tifffile.TiffFile(path) as file:
        first, second = (page.offset for page in file.pages)
    data = bytearray(path.read_bytes())
    (tags,) = struct.unpack("<H", data[second : second + 2])
    end = second + 2 + 12 * tags
    for target in (first, second):
        data[end : end + 4] = struct.pack("<I", target)
        path.write_bytes(bytes(data))
        with pytest.raises(ScanError, match=r"a\.tif: a damaged TIFF \(its pages are a ring\)"):
            read_image(path)


def test_a_picture_of_too_many_pixels_is_no_slice(tmp_path):
    head = b"BM" + bytes(12) + (40).to_bytes(4, "little") + (60_000).to_bytes(4, "little") * 2
    (tmp_path / "a.bmp").write_bytes(head + b"\1\0\x18\0" + bytes(24))
    with pytest.raises(ScanError, match=r"a\.bmp: no slice of a CT .*3600000000 pixels"):
        read_image(tmp_path / "a.bmp")


def test_pictures_are_no_scans(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([HU] * 3), photometric="minisblack")
    with pytest.raises(ScanError, match="a format without position and orientation"):
        scan.read_scan(tmp_path / "a.tif")
    path = write_metaimage(tmp_path / "b.mhd")
    path.rename(tmp_path / "b.tif")
    with pytest.raises(ScanError, match="it holds MetaImage"):
        scan.read_scan(tmp_path / "b.tif")
