"""Where XML files lie, and which are damaged."""

import os
import zipfile

import pytest
from lidc import xml_texts as xml

from inres.lidc import xml_files
from inres.lidc.readings import ReadingError
from inres.lidc.xml_files import Opener, Place


def text(uid, z=0):
    return xml.document(xml.nodule(xml.roi(z, xml.ring(0, 0, 4, 4))), uid=uid)


@pytest.fixture
def tree(tmp_path):
    """Series 1.1 next to slices, 1.2 in a folder, 1.3 zipped, 1.1 once more zipped."""
    (tmp_path / "patient" / "a study").mkdir(parents=True)
    (tmp_path / "patient" / "a study" / "069.xml").write_text(text("1.1"))
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "9.XML").write_text(text("1.2"))
    (tmp_path / "xml" / "radiograph.xml").write_text(xml.document(root="IdriReadMessage"))
    (tmp_path / "xml" / "notes.txt").write_text("no XML")
    (tmp_path / "xml" / "._9.XML").write_bytes(b"\0\5\x16\7")  # of macOS
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/tcia/1/._001.xml", b"\0\5\x16\7")
        archive.writestr("tcia/1/001.xml", text("1.3"))
        archive.writestr("tcia/1/002.xml", text("1.1"))
        archive.writestr("tcia/readme.txt", "no XML")
    return tmp_path


def test_files_are_found_by_the_series_inside_them(tree):
    found = xml_files.survey(tree)
    assert sorted(found.places) == ["1.1", "1.2", "1.3"]
    assert found.others == 1
    assert found.problems == ()
    names = {uid: [place.relative_to(tree) for place in found.places[uid]] for uid in found.places}
    assert names["1.1"] == ["all.zip/tcia/1/002.xml", "patient/a study/069.xml"]
    assert names["1.2"] == ["xml/9.XML"]
    with Opener() as opener:
        for uid, places in found.places.items():
            assert xml_files.read(places, opener).series_uid == uid


def test_a_place_is_found_again_by_its_name(tree):
    for places in xml_files.survey(tree).places.values():
        for place in places:
            assert Place.below(tree, place.relative_to(tree)) == place
    with pytest.raises(ReadingError, match=r"gone\.xml: no such file"):
        Place.below(tree, "xml/gone.xml")


def test_a_zip_file_alone_is_a_library(tree):
    assert sorted(xml_files.survey(tree / "all.zip").places) == ["1.1", "1.3"]


def test_different_files_of_one_series_are_refused(tree):
    (tree / "xml" / "other.xml").write_text(text("1.1", z=3))
    found = xml_files.survey(tree)
    with Opener() as opener, pytest.raises(ReadingError) as caught:
        xml_files.read(found.places["1.1"], opener)
    assert "other.xml: different marks for one series (1.1); remove one" in str(caught.value)


@pytest.mark.parametrize("name", ["a.xml", "a.zip"])
def test_what_could_be_read_for_ever_is_named(tree, name):
    os.mkfifo(tree / "xml" / name)
    (tree / "xml" / f"b{name}").symlink_to("/dev/zero")
    problems = xml_files.survey(tree).problems
    assert [problem.partition(": ")[2] for problem in problems] == [
        "a pipe, a device or a broken link; restore or remove it"
    ] * 2


def test_files_too_large_for_readings_are_named_unread(tree, monkeypatch):
    monkeypatch.setattr(xml_files, "MOST_BYTES", 1000)
    large = text("1.9") + " " * 2_000_000
    (tree / "large.xml").write_text(large)
    with zipfile.ZipFile(tree / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.xml", large)
    problems = xml_files.survey(tree).problems
    assert sum("bomb.zip/inner.xml: 2 MB; readings have a few" in text for text in problems) == 1
    assert sum("large.xml: 2 MB; readings have a few" in text for text in problems) == 1


def test_every_damaged_file_is_named(tree):
    whole = (tree / "all.zip").read_bytes()
    (tree / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tree / "xml" / "cut.xml").write_text("<LidcReadMessage><Resp")
    content = bytearray(whole)
    content[60:70] = b"\xff" * 10  # within the first member's data
    (tree / "bits.zip").write_bytes(content)
    problems = xml_files.survey(tree).problems
    assert len(problems) == 3
    for name in ("cut.zip", "cut.xml", "bits.zip"):
        assert sum(name in problem for problem in problems) == 1
    assert all("fetch" in problem for problem in problems)
