"""Small files that would need much memory are refused before it is used."""

import io
import tracemalloc
import zlib

import numpy as np
import pytest
from ct.dicom_files import save, slices
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless

from inres.ct import dicom
from inres.ct.dicom import limits
from inres.ct.dicom.elements import UnreadableError
from inres.ct.header import ScanError
from inres.system import memory

HU = np.full((4, 8, 8), -500, np.int16)
EMPTY_ITEM = b"\xfe\xff\x00\xe0\x00\x00\x00\x00"


def sequence(count):
    """A sequence of empty items: PerFrameFunctionalGroupsSequence in explicit little endian."""
    items = EMPTY_ITEM * count
    return b"\x00\x52\x30\x92SQ\0\0" + len(items).to_bytes(4, "little") + items


def test_a_file_of_many_items_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MOST_ITEMS", 1000)
    folder = save(tmp_path / "few", slices(HU, [0, 2, 4, 6]))
    assert len(dicom.series_of(folder)) == 1
    path = sorted(folder.iterdir())[0]
    whole = path.read_bytes()
    at = whole.index(b"\xe0\x7f\x10\x00")  # PixelData
    path.write_bytes(whole[:at] + sequence(1001) + whole[at:])
    assert "left out, truncated or damaged" in dicom.open_stack(folder).header.notes[0]
    path.write_bytes(whole[:at] + sequence(999) + whole[at:])
    limits.require_few_items(io.BytesIO(path.read_bytes()))


def test_items_are_counted_across_pieces(monkeypatch):
    monkeypatch.setattr(limits, "MOST_ITEMS", 100)
    monkeypatch.setattr(limits, "_PIECE", 13)
    limits.require_few_items(io.BytesIO(EMPTY_ITEM * 100 + bytes(50)))
    with pytest.raises(UnreadableError, match="more than 100 items"):
        limits.require_few_items(io.BytesIO(b"x" + EMPTY_ITEM * 101))
    with pytest.raises(UnreadableError, match="more than 100 items"):
        limits.require_few_items(io.BytesIO(b"\xff\xfe\xe0\x00" * 101 + bytes(1000)))


def test_a_deflated_file_is_inflated_within_the_memory(tmp_path):
    made = slices(HU, [0, 2, 4, 6])
    for one in made:
        one.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    folder = save(tmp_path / "deflated", made)
    np.testing.assert_array_equal(dicom.read_stack(dicom.open_stack(folder))[0], HU)
    packed = zlib.compress(bytes(50_000_000), wbits=-15)
    tracemalloc.start()
    with memory.at_most(4_000_000), pytest.raises(UnreadableError, match="more than 1000000 bytes"):
        limits.inflated(packed, -15)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert limits.inflated(packed, -15) == bytes(50_000_000)
    with pytest.raises(UnreadableError, match="ends early"):
        limits.inflated(packed[:-100], -15)
    path = sorted(folder.iterdir())[0]
    path.write_bytes(path.read_bytes()[:-400] + packed)
    with memory.at_most(4_000_000), pytest.raises(ScanError):
        dicom.read_stack(dicom.open_stack(path))


@pytest.mark.parametrize(
    ("ending", "options"),
    [
        *(("JPEG", {}), ("JPEG", {"progressive": True})),
        *(("JPEG2000", {"no_jp2": True}), ("JPEG2000", {"no_jp2": False})),
    ],
)
def test_frames_state_their_size(ending, options):
    image = io.BytesIO()
    Image.fromarray(np.zeros((30, 70), np.uint8)).save(image, ending, **options)
    assert limits.stated_size(image.getvalue()) == (30, 70)


@pytest.mark.parametrize("inserted", [b"\xff", b"\xff\xff", b"\xff\x01", b"\xff\xd0", b"\0"])
def test_what_decoders_skip_does_not_hide_the_size(inserted):
    """Fill bytes, and markers without a length; a decoder may also skip what is none."""
    image = io.BytesIO()
    Image.fromarray(np.zeros((30, 70), np.uint8)).save(image, "JPEG")
    start, size, rest = image.getvalue().partition(b"\xff\xc0")
    expected = limits.UNKNOWN if inserted == b"\0" else (30, 70)
    assert limits.stated_size(start + inserted + size + rest) == expected


def test_a_file_of_two_sizes_has_none():
    made = [io.BytesIO(), io.BytesIO()]
    for image, side in zip(made, (8, 9), strict=True):
        Image.fromarray(np.zeros((8, side), np.uint8)).save(image, "JPEG2000", no_jp2=side == 9)
    assert limits.stated_size(made[0].getvalue() + made[1].getvalue()) == limits.UNKNOWN


def test_a_frame_of_another_size_is_not_decoded(tmp_path):
    """Its decoder would make room for what the frame itself says."""
    made = slices(HU[:2], [0, 2])
    frame = io.BytesIO()
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(frame, "JPEG2000", no_jp2=True)
    for one in made:
        one.file_meta.TransferSyntaxUID = JPEG2000Lossless
        one.PixelData = encapsulate([frame.getvalue()])
        one["PixelData"].is_undefined_length = True
    folder = save(tmp_path / "frames", made)
    with pytest.raises(ScanError, match="cannot be decoded"):
        dicom.read_stack(dicom.open_stack(folder))
    for data in (b"\xff\xd8", b"\xff\xd8\xff\xc0\0\x08", b"\xff\x4f\xff\x51"):
        assert limits.stated_size(data) == limits.UNKNOWN
    for data in (b"", b"x" * 100):
        assert limits.stated_size(data) is None
