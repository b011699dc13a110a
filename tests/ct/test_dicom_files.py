"""Files among the slices that are damaged, missing, or something else."""

import numpy as np
import pytest
from ct.dicom_files import pictures, save, slices
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, RLELossless

from inres.ct import dicom, scan
from inres.ct.header import ScanError
from inres.system import memory

HU = pictures(8)
HEIGHTS = np.arange(8) * 2.0


@pytest.fixture
def folder(tmp_path):
    return save(tmp_path / "d", slices(HU, HEIGHTS))


def test_other_files_are_ignored(folder):
    for name in ("Thumbs.db", "notes.xml", "VERSION", "desktop.ini", "readme.txt", "a.jpg"):
        (folder / name).write_bytes(b"something else, and not short: " + bytes(200))
    (folder / "._00-0.dcm").write_bytes(bytes(4096))
    (folder / "inner").mkdir()
    volume = scan.read_scan(folder)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ()


def test_a_directory_of_files_is_ignored(folder):
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2"
    directory.FileSetID = "MEDIA"
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    volume = scan.read_scan(folder)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == ()
    with pytest.raises(ScanError, match="no DICOM series in this file"):
        scan.read_scan(folder / "DICOMDIR")


def test_what_may_be_a_slice_and_cannot_be_read_is_noted(folder):
    (folder / "gone.dcm").symlink_to("/nonexistent/gone.dcm")
    (folder / "gone2").symlink_to("../.git/annex/objects/gone")
    (folder / "empty.dcm").touch()
    (folder / "text.dcm").write_text("<html>404 not found</html>" * 20)
    whole = (folder / "00-0.dcm").read_bytes()
    (folder / "cut").write_bytes(whole[:150])
    volume = scan.read_scan(folder)
    np.testing.assert_array_equal(volume.hu, HU)
    assert volume.notes == (
        "left out, truncated or damaged: cut",
        "left out, empty file: empty.dcm",
        "left out, broken link: gone.dcm, gone2",
        "left out, not DICOM: text.dcm",
    )


def test_names_in_notes_are_on_one_line(folder):
    (folder / "a\nb.dcm").touch()
    (folder / "Lunge_肺_\u202e.dcm").touch()
    assert scan.read_scan(folder).notes == (r"left out, empty file: Lunge_肺_\u202e.dcm, a\nb.dcm",)


def test_only_broken_links(folder):
    for path in list(folder.iterdir()):
        path.unlink()
        path.symlink_to("../.git/annex/objects/gone")
    match = r"d: no DICOM series .*; left out, broken link: 00-0\.dcm, .* and 5 more; .*git annex"
    with pytest.raises(ScanError, match=match):
        scan.read_scan(folder)


def test_files_without_ending_or_preamble(tmp_path):
    datasets = slices(HU, HEIGHTS)
    for number, dataset in enumerate(datasets):
        path = tmp_path / f"IM{number:04d}"
        if number % 2:
            dataset.save_as(path, enforce_file_format=True)
        else:  # as old archives stored them: no preamble, no meta information, implicit
            del dataset.file_meta
            dataset.save_as(path, implicit_vr=True, little_endian=True)
            assert path.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(scan.read_scan(tmp_path).hu, HU)
    np.testing.assert_array_equal(scan.read_scan(tmp_path / "IM0002").hu, HU[2:3])


def test_pictures_inside_the_header(tmp_path):
    """Icons have pixel data of their own, which are not those of the slice."""
    icon = Dataset()
    icon.Rows, icon.Columns, icon.PixelData = 4, 4, bytes(16)
    icon.BitsAllocated, icon.PixelRepresentation = 8, 0
    datasets = slices(HU, HEIGHTS, IconImageSequence=[icon])
    for dataset in datasets[::2]:
        dataset["IconImageSequence"].is_undefined_length = True
    np.testing.assert_array_equal(scan.read_scan(save(tmp_path / "d", datasets)).hu, HU)


def test_sizes_that_do_not_fit_in_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**9)
    datasets = slices(HU, HEIGHTS, PixelSpacing=[0.1, 0.1])
    for dataset in datasets:
        dataset.compress(RLELossless)
        dataset.Rows, dataset.Columns = 20000, 20000
    with pytest.raises(ScanError, match=r"8 slices of 20000 x 20000 pixels are too many: .* GB"):
        scan.read_scan(save(tmp_path / "d", datasets))


def test_truncated_pixels_are_named(folder):
    path = folder / "14-2.dcm"
    path.write_bytes(path.read_bytes()[:-7])
    for read in (scan.read_header, scan.read_scan):
        with pytest.raises(ScanError, match=r"14-2\.dcm: truncated, 233 bytes of pixels"):
            read(folder)


def test_pixels_and_size_that_disagree_are_named(tmp_path):
    datasets = slices(HU, HEIGHTS)
    for dataset in datasets:
        dataset.Rows = 6
    with pytest.raises(ScanError, match=r"240 bytes of pixels, but 6 rows and 10 columns"):
        scan.read_header(save(tmp_path / "a", datasets))
    for dataset in datasets:
        dataset.Rows = 24
    with pytest.raises(ScanError, match=r"truncated, 240 bytes of pixels instead of 480"):
        scan.read_header(save(tmp_path / "b", datasets))


@pytest.mark.parametrize("name", ["PixelData", "Rows", "BitsStored"])
def test_slices_without_pixels_are_named(tmp_path, name):
    datasets = slices(HU, HEIGHTS)
    delattr(datasets[3], name)
    with pytest.raises(ScanError, match=r"d/21-3\.dcm: "):
        scan.read_header(save(tmp_path / "d", datasets))


@pytest.mark.parametrize("cut", [1, 9, 20, 60])
def test_truncated_compressed_pixels_are_named(tmp_path, cut):
    datasets = slices(HU, HEIGHTS)
    for dataset in datasets:
        dataset.compress(RLELossless)
    folder = save(tmp_path / "d", datasets)
    path = folder / "14-2.dcm"
    whole = path.read_bytes()
    path.write_bytes(whole[: -8 - cut])  # the last 8 bytes end the sequence of frames
    with pytest.raises(ScanError, match=r"14-2\.dcm: "):
        scan.read_scan(folder)


def test_real_compressed_pixels_cut_short_are_named(real_data, tmp_path):
    for path in sorted(real_data("transfer_syntaxes").glob("*.dcm")):
        short = tmp_path / path.name
        short.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.8)])
        with pytest.raises(ScanError, match=path.name):
            scan.read_scan(short)


def outcome(folder):
    """The error of reading a folder, or its notes."""
    try:
        return "", scan.read_scan(folder).notes
    except ScanError as error:
        return str(error), ()


@pytest.mark.filterwarnings("error")
def test_damaged_bytes_give_a_scan_or_an_error_that_names_the_file(folder, rng):
    """Any byte of a header may be wrong: never another exception."""
    path = folder / "14-2.dcm"
    whole = path.read_bytes()
    header = len(whole) - HU[0].nbytes
    outcomes = set()
    for position in rng.choice(np.arange(128, header), 150, replace=False):
        damaged = bytearray(whole)
        damaged[position] ^= int(rng.integers(1, 256))
        path.write_bytes(damaged)
        error, _ = outcome(folder)
        assert not error or str(folder) in error
        outcomes.add(bool(error))
    assert outcomes == {True, False}


@pytest.mark.parametrize("length", [131, 132, 140, 200, 300, 400, 500, 600, 700, 800])
def test_a_header_cut_short_is_noted_or_named(folder, length):
    path = folder / "14-2.dcm"
    path.write_bytes(path.read_bytes()[:length])
    error, notes = outcome(folder)
    if error:
        assert "14-2.dcm" in error
    else:
        assert any("14-2.dcm" in n or "a single slice" in n or "files" in n for n in notes)
        assert any("interpolated" in note for note in notes)


def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(dicom, "read_folder", refused)
    with pytest.raises(ScanError, match=r"cannot be read \(Permission denied\)"):
        scan.read_header(tmp_path)
