"""One file of readings: what is understood, and what is refused."""

import io

import pytest
from lidc import xml_texts as xml

from inres.lidc import readings, xml_files
from inres.lidc.readings import OTHER, SMALL, ReadingError


def read(text):
    return readings.read(io.BytesIO(text.encode()), name="a.xml")


def uid(text):
    return readings.series_uid(io.BytesIO(text.encode()), name="a.xml")


def test_marks_of_all_kinds_are_read():
    outline = xml.ring(10, 20, 14, 24)
    found = read(
        xml.document(
            xml.nodule(xml.roi("-156.0", outline), xml.roi(-153.5, outline), name="Nodule 1")
            + xml.small("-10.25", 5, 6),
            xml.other(7, 100, 200),
            "",
            xml.nodule(xml.roi(1, outline), xml.roi(1, xml.ring(11, 21, 13, 23), "FALSE")),
        )
    )
    assert found.series_uid == "1.2.3"
    assert found.readers == 4
    first, last = found.marks
    assert (first.reader, first.name, last.reader) == (0, "Nodule 1", 3)
    assert [contour.z_mm for contour in first.contours] == [-156.0, -153.5]
    assert list(first.contours[0].points) == outline
    assert [contour.hole for contour in last.contours] == [False, True]
    assert first.ratings == {
        **{name: value for name, value in xml.RATINGS.items() if name != "internalStructure"},
        "internal_structure": 1,
    }
    spots = [(spot.reader, spot.kind, spot.z_mm, spot.point) for spot in found.spots]
    assert spots == [(0, SMALL, -10.25, (5, 6)), (1, OTHER, 7.0, (100, 200))]


def test_ratings_of_zero_blank_or_absent_are_unknown():
    ratings = {"texture": 0, "margin": "", "malignancy": 3}
    mark = read(xml.document(xml.nodule(xml.roi(0, xml.ring(0, 0, 4, 4)), ratings=ratings))).marks[
        0
    ]
    assert mark.ratings == {"malignancy": 3}


def test_a_rating_outside_its_scale_is_unknown_and_told():
    ratings = {"internalStructure": 5, "calcification": 6, "texture": 6}
    found = read(xml.document(xml.nodule(xml.roi(0, xml.ring(0, 0, 4, 4)), ratings=ratings)))
    assert found.marks[0].ratings == {"calcification": 6}
    assert len(found.notes) == 2
    assert "a.xml: internalStructure is 5, outside 1 to 4" in found.notes[0]


def test_a_nodule_without_an_outline_is_noted():
    reading = read(xml.document(xml.nodule() + xml.nodule(xml.roi(0, []))))
    assert (reading.marks, reading.spots) == ((), ())
    assert reading.notes == ("a.xml: a nodule without an outline, left out",) * 2


def test_files_with_the_same_marks_are_equal():
    text = xml.document(xml.nodule(xml.roi(0, xml.ring(0, 0, 4, 4))))
    again = readings.read(io.BytesIO(text.replace('uid="9"', 'uid="8"').encode()), name="b.xml")
    assert read(text) == again
    assert read(text) != read(text.replace("<imageZposition>0<", "<imageZposition>1<"))


def test_the_series_is_found_without_reading_the_marks():
    text = xml.document(xml.nodule(xml.roi(0, xml.ring(0, 0, 4, 4))))
    assert uid(text) == "1.2.3"
    assert uid(xml.document(xml.small(0, 1, 1) * 4000)[:4000] + "<cut") == "1.2.3"


@pytest.mark.parametrize(
    "text",
    [
        xml.document(root="IdriReadMessage"),
        '<?xml version="1.0"?><manifest><a/></manifest>',
    ],
    ids=["radiograph", "something else"],
)
def test_other_xml_has_no_series(text):
    assert uid(text) == ""
    with pytest.raises(ReadingError, match=r"a\.xml: .*not readings of a CT series"):
        read(text)


GOOD = xml.document(xml.nodule(xml.roi(0, xml.ring(0, 0, 4, 4))) + xml.other(1, 2, 3))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (GOOD[:-30], "not well-formed XML"),
        ("", "not well-formed XML"),
        ("no XML", "not well-formed XML"),
        (GOOD.replace("<SeriesInstanceUid>1.2.3</SeriesInstanceUid>", ""), "SeriesInstanceUid"),
        (GOOD.replace("1.2.3", "  "), "SeriesInstanceUid"),
        (GOOD.replace("<xCoord>4</xCoord>", "<xCoord>4.5</xCoord>"), "'4.5'"),
        (GOOD.replace("<xCoord>4</xCoord>", ""), "None"),
        (GOOD.replace("<imageZposition>0<", "<imageZposition>low<"), "imageZposition is 'low'"),
        (GOOD.replace("<imageZposition>0<", "<imageZposition>nan<"), "imageZposition is 'nan'"),
        (GOOD.replace("<imageZposition>1</imageZposition>", ""), "imageZposition is ''"),
        (GOOD.replace("<imageZposition>1<", "<imageZposition>1_0<"), "imageZposition is '1_0'"),
        (GOOD.replace("<imageZposition>1<", "<imageZposition>1e999<"), "imageZposition is '1e999'"),
        (GOOD.replace("<texture>5<", "<texture>1_0<"), "texture is '1_0'"),
        (GOOD.replace("TRUE", "MAYBE"), "inclusion is 'MAYBE'"),
        (GOOD.replace("UTF-8", "FOO"), "unknown encoding: FOO"),
        (GOOD.replace("UTF-8", "Shift_JIS"), "multi-byte encodings"),
        (GOOD.replace("<xCoord>4<", "<xCoord>1_0<"), "'1_0'"),
        (GOOD.replace("<xCoord>4<", "<xCoord>9000<"), "xCoord 9000 and yCoord 0, outside of any"),
        (GOOD.replace("<xCoord>4<", "<xCoord>-9000<"), "outside of any slice"),
        (GOOD.replace("<xCoord>4<", f"<xCoord>{'9' * 5000}<"), "not whole numbers"),
        (xml.document(xml.nodule(xml.roi(0, [(1, 2)] * 5001))), "an outline of 5001 points"),
        (xml.document(), "no readingSession"),
        (GOOD.replace("readingSession", "ReadingSession"), "no readingSession"),
        (GOOD.replace("<texture>5<", "<texture>solid<"), "texture is 'solid'"),
        (GOOD.replace("locus", "place"), "nonNodule without locus"),
    ],
)
def test_what_cannot_be_read_is_named(text, part):
    with pytest.raises(ReadingError) as caught:
        read(text)
    assert str(caught.value).startswith("a.xml: ")
    assert part in str(caught.value)


def test_every_file_of_the_lidc_is_read(real_data):
    """A sample of the real files; `experiments.lidc_check` reads all."""

    found = xml_files.survey(real_data("lidc_dicom/tcia-lidc-xml.zip"))
    assert (len(found.places), found.others, found.problems) == (1018, 283, ())
    with xml_files.Opener() as opener:
        for uid_, places in sorted(found.places.items())[::40]:
            reading = xml_files.read(places, opener)
            assert reading.series_uid == uid_
            assert reading.readers == 4
            assert all(len(mark.ratings) >= 8 for mark in reading.marks)
