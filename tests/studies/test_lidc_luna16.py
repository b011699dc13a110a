"""The comparison of the LIDC's readings with LUNA16's list."""

import io

import numpy as np
import pytest
from lidc import xml_texts as xml

from inres.lidc import nodules, readings, xml_files
from inres.lidc.planes import Planes
from inres.sources import Finding
from inres.studies import lidc_luna16
from inres.studies.lidc_luna16 import AVERAGE, MERGED, PARTS, Luna16

PLANES = Planes.regular(origin_mm=(-50.0, -60.0, -100.0), spacing_mm=(0.7, 0.7, 2.0))


def box(left, top, width, *heights):
    """A nodule of width x width pixels."""
    ring = xml.ring(left - 1, top - 1, left + width, top + width)
    return xml.nodule(*(xml.roi(z, ring) for z in heights))


def reading(*sessions, uid="1.1"):
    return readings.read(io.BytesIO(xml.document(*sessions, uid=uid).encode()), name=uid)


def luna16_list(reading, planes=PLANES):
    """What LUNA16 would list, of readings without nodules in parts."""
    listed, excluded = [], []
    for nodule in nodules.find(reading, planes):
        places = [one.world_mm for one in nodule.marks]
        sizes = [one.diameter_mm for one in nodule.marks]
        while len(places) > 1:  # pair by pair, from the last
            excluded.append((places[-1], sizes[-1]))
            places[-2:] = [(places[-1] + places[-2]) / 2]
            sizes[-2:] = [(sizes[-1] + sizes[-2]) / 2]
        if nodule.readers >= 3:
            listed.append((places[0], sizes[0]))
    for spot in reading.spots:
        excluded.append((planes.world_mm(spot.z_mm, np.array([spot.point]))[0], np.nan))
    made = [
        [Finding(f"{n}", tuple(place.tolist()), size) for n, (place, size) in enumerate(rows)]
        for rows in (listed, excluded)
    ]
    return Luna16({reading.series_uid: made[0]}, {reading.series_uid: made[1]}, ["1.1"])


def shares(agreement):
    return [(row["agree"], row["of"]) for row in agreement.summary()]


def compare(reading, luna16, planes=PLANES):
    return lidc_luna16.compare({reading.series_uid: reading}, luna16, {"1.1": planes})


SPOTS = xml.small(-90, 5, 5) + xml.other(-80, 90, 7) + xml.other(-70, 20, 80)
EQUAL = reading(
    box(20, 20, 9, -60, -58, -56) + box(70, 70, 5, -40, -38),
    box(21, 20, 9, -60, -58, -56) + box(70, 71, 5, -40, -38),
    box(20, 21, 10, -60, -58, -56) + box(70, 70, 6, -40, -38),
    SPOTS,
)


def test_a_list_made_from_the_readings_agrees():
    found = compare(EQUAL, luna16_list(EQUAL))
    assert shares(found) == [(1, 1), (2, 2), (2, 2), (2, 2), (2, 2), (4, 4)]
    assert not any(one.reason for one in (*found.counts, *found.matches))
    assert "nodules of" not in "\n".join(found.lines())


def test_a_wrong_list_does_not_agree():
    luna16 = luna16_list(EQUAL)
    first, second = luna16.nodules["1.1"]
    moved = Finding("0", (first.world_mm[0] + 1.5, *first.world_mm[1:]), first.diameter_mm)
    larger = Finding("1", second.world_mm, second.diameter_mm * 1.15)
    extra = Finding("2", (0.0, 0.0, -30.0), 8.0)
    wrong = Luna16({"1.1": [moved, larger, extra]}, luna16.excluded, ["1.1"])
    found = compare(EQUAL, wrong)
    assert shares(found)[:5] == [(0, 1), (1, 3), (1, 3), (0, 3), (0, 3)]
    assert [one.reason for one in found.matches] == [
        lidc_luna16.UNKNOWN,
        lidc_luna16.UNKNOWN,
        lidc_luna16.ABSENT,
    ]


def test_readers_that_differ_weigh_unevenly_in_luna16():
    uneven = reading(box(20, 20, 20, -60, -58), *(box(24, 24, 9, -60, -58) for _ in range(3)))
    found = compare(uneven, luna16_list(uneven))
    assert shares(found)[3:5] == [(0, 1), (1, 1)]
    (match,) = found.matches
    assert match.reason == AVERAGE
    assert AVERAGE in "\n".join(found.lines())


def test_a_nodule_in_parts_and_one_that_luna16_merges_are_explained():
    parts = reading(
        *(box(20, 20, 12, -60, -58) for _ in range(3)),
        box(20, 20, 6, -60, -58) + box(27, 20, 6, -60, -58),
    )
    listed = Finding("0", tuple(PLANES.world_mm(-59, np.array([[29, 25]]))[0]), 12.0)
    found = compare(parts, Luna16({"1.1": [listed]}, {}, ["1.1"]))
    assert [one.reason for one in found.matches] == [PARTS]
    touching = box(20, 20, 9, -60, -58) + box(30, 20, 9, -60, -58)
    twice = reading(touching, touching, touching)
    found = compare(twice, Luna16({"1.1": [listed]}, {}, ["1.1"]))
    assert [one.reason for one in found.counts] == [MERGED]


def test_reversed_axes_follow_from_the_excluded_findings(tmp_path):
    turned = Planes.regular(
        origin_mm=(100, 90, -100), spacing_mm=(0.6, 0.6, 2), direction=np.diag([-1.0, -1.0, 1.0])
    )
    for planes, origin, pixel in ((PLANES, (-50, -60), 0.7), (turned, (100, 90), 0.6)):
        luna16 = luna16_list(EQUAL, planes)
        table = tmp_path / "geometry.csv"
        table.write_text(
            ",".join(lidc_luna16.GEOMETRY)
            + f"\n1.1,{origin[0]},{origin[1]},-100,{pixel},{pixel},2\nother,0,0,0,1,1,1\n"
        )
        geometry = lidc_luna16.read_geometry(table, {"1.1": EQUAL}, luna16)
        assert list(geometry) == ["1.1"]
        found = lidc_luna16.compare({"1.1": EQUAL}, luna16, geometry)
        assert shares(found)[3:5] == [(2, 2), (2, 2)]


def test_tables_that_cannot_be_are_named(tmp_path):
    head = ",".join(lidc_luna16.GEOMETRY)
    table = tmp_path / "geometry.csv"
    for spacing in ("0", "-0.7", "0.0007", "700"):
        table.write_text(f"{head}\n1.1,0,0,0,0.7,{spacing},2\n")
        with pytest.raises(
            ValueError, match=r"geometry\.csv: line 2: spacing .*must be 0\.1 to 25"
        ):
            lidc_luna16.read_geometry(table, {"1.1": EQUAL}, luna16_list(EQUAL))
    for name in ("annotations.csv", "annotations_excluded.csv"):
        (tmp_path / name).write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\n")
    (tmp_path / "seriesuids.csv").write_text('seriesuid\n"1.1"\n1.1\n1.2\n')
    assert lidc_luna16.read_luna16(tmp_path).series == ["1.1", "1.2"]
    (tmp_path / "seriesuids.csv").write_bytes("1.1\n".encode("utf-16"))
    with pytest.raises(ValueError, match=r"seriesuids\.csv: not a text in UTF-8"):
        lidc_luna16.read_luna16(tmp_path)


def test_nodules_are_counted_without_a_geometry():
    luna16 = luna16_list(EQUAL)
    found = lidc_luna16.compare({"1.1": EQUAL}, luna16, {})
    assert shares(found)[:2] == [(1, 1), (0, 0)]
    guessed = lidc_luna16.guessed(EQUAL, luna16.excluded["1.1"])
    assert guessed.slice_mm == 2.0
    assert np.sqrt(guessed.pixel_mm2) == pytest.approx(0.7)


def test_readings_of_other_series_are_refused():
    with pytest.raises(ValueError, match="none of the 1 series"):
        lidc_luna16.compare({"1.1": EQUAL}, Luna16({}, {}, ["9.9"]), {})


def test_a_sample_of_the_real_list(real_data):
    """`experiments.lidc_check` compares all; the text of RESULTS.md has its numbers."""

    tables = real_data("luna16_csv")
    luna16 = lidc_luna16.read_luna16(tables)
    found = xml_files.survey(real_data("lidc_dicom/tcia-lidc-xml.zip"))
    series = [uid for uid in luna16.series if uid in luna16.nodules][::40]
    with xml_files.Opener() as opener:
        sample = {uid: xml_files.read(found.places[uid], opener) for uid in series}
    path = tables / "origin_spacing_of_1004_nodules.csv"
    geometry = lidc_luna16.read_geometry(path, sample, luna16)
    agreement = lidc_luna16.compare(sample, luna16, geometry)
    counts, *_, both, exact, excluded = shares(agreement)
    assert counts == (16, 16)
    assert both[1] >= 20
    for agree, of in (both, exact, excluded):
        assert agree / of > 0.95
    assert not any(match.reason == lidc_luna16.UNKNOWN for match in agreement.matches)
