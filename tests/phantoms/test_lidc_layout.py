"""Phantoms in the layout of the LIDC-IDRI: four readers who disagree, and what lies where."""

import dataclasses
import zipfile

import numpy as np
import pytest
from sources.boxes import quiet

from inres.config import Data, Phantom
from inres.lidc import outlines, xml_files
from inres.lidc.readings import Contour, Mark
from inres.phantoms import readers
from inres.phantoms.dataset import write_dataset
from inres.phantoms.layout import read_findings
from inres.phantoms.lidc_layout import LIDC, series_folder, xml_path
from inres.phantoms.nodules import Finding
from inres.phantoms.plan import plan_dataset
from inres.phantoms.scan import Scan
from inres.sources import lidc

CONFIG = Phantom(
    scans=3, subsets=3, nodules_per_scan=5.0, normal_scans=0.0, matrix=128, extent_mm=80.0
)
RATINGS = {
    "texture": 4.6,
    "spiculation": 1.2,
    "lobulation": 2.0,
    "margin": 4.0,
    "sphericity": 3.9,
    "calcification": 6.0,
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("lidc")
    write_dataset(root, CONFIG, seed=1, workers=1, progress=quiet, layout=LIDC)
    return root


def grid(*, sign=1.0, annotations=(), excluded=()):
    """A scan without anything in it."""
    return Scan(
        uid="1.2",
        hu=np.zeros((40, 64, 64), np.int16),
        lungs=np.zeros((40, 64, 64), np.uint8),
        spacing=(0.8, 0.8, 1.5),
        origin=(10.0, -20.0, -300.0),
        direction=(sign, 0, 0, 0, sign, 0, 0, 0, 1),
        annotations=annotations,
        excluded=excluded,
    )


def finding(centre, diameter):
    return Finding(np.array(centre, float), diameter, "solid", "smooth", "isolated", 9.0, RATINGS)


@pytest.mark.parametrize("diameter", [0.5, 1.0, 3.3, 6.0, 12.5, 25.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_ball_is_outlined_by_the_pixels_around_it(diameter, sign, rng):
    scan = grid(sign=sign)
    centre = np.array([10.0 + sign * 26, -20.0 + sign * 24, -270.0]) + rng.uniform(-1, 1, 3)
    found = readers.ball(scan, centre, diameter)
    contours = tuple(
        Contour(z_mm=float(one.plane), hole=False, points=tuple(map(tuple, one.points.tolist())))
        for one in found
    )
    pixels = outlines.mask(Mark(reader=0, name="", ratings={}, contours=contours)).pixels
    places = np.stack(np.meshgrid(range(40), range(64), range(64), indexing="ij"), axis=-1)
    steps = np.array([1.5, 0.8 * sign, 0.8 * sign])
    world = places * steps + [-300.0, -20.0, 10.0]
    inside = np.linalg.norm(world - centre[::-1], axis=-1) <= diameter / 2
    assert pixels.sum() == max(1, inside.sum())


def test_readers_disagree_and_miss():
    annotations = tuple(finding((30, 0, -290 + 10 * k), 4 + 3 * k) for k in range(5))
    scan = grid(annotations=annotations, excluded=(finding((20, 5, -250), -1.0),))
    rng = np.random.default_rng(0)
    sessions = [readers.read_scan(scan, rng) for _ in range(60)]
    counts = [
        sum(any(n.finding == k for n in one.nodules) for one in four)
        for four in sessions
        for k in range(5)
    ]
    shares = {n: counts.count(n) / len(counts) for n in readers.MARKED_BY}
    assert shares == pytest.approx(readers.MARKED_BY, abs=0.1)
    ratings = np.array(
        [[n.ratings["margin"] for n in one.nodules] for four in sessions for one in four if
         len(one.nodules) == 5]
    )  # fmt: skip
    assert ratings.mean() == pytest.approx(4.0, abs=0.1)
    assert 0.3 < ratings.std() < 0.8
    assert any(outline.hole for four in sessions for one in four for n in one.nodules
               for outline in n.outlines)  # fmt: skip
    points = [point for four in sessions for one in four for point in one.points]
    assert {point.nodule for point in points} == {True, False}


def test_every_scan_has_its_files_where_they_may_lie(tree):
    plans = plan_dataset(CONFIG, seed=1)
    for plan in plans:
        assert len(list(series_folder(tree, plan).glob("1-*.dcm"))) > 30
        assert plan.uid not in str(series_folder(tree, plan))
    found = xml_files.survey(tree)
    assert found.places.keys() == {plan.uid for plan in plans}
    assert found.others == 1
    places = [found.places[plan.uid][0].relative_to(tree) for plan in plans]
    assert places[0].startswith("LIDC-IDRI-0001/")
    assert places[1] == "tcia-lidc-xml/1/002.xml"
    assert places[2] == "tcia-lidc-xml.zip/tcia-lidc-xml/2/003.xml"


def test_the_source_finds_the_drawn_nodules(tree):
    plans = {plan.uid: plan for plan in plan_dataset(CONFIG, seed=1)}
    scans = lidc.read(tree, Data(kind="lidc", min_readers=1), quiet).scans
    assert {scan.uid for scan in scans} == plans.keys()
    for scan in scans:
        drawn = read_findings(tree, plans[scan.uid])["annotations"]
        places = np.array([one["centre"] for one in drawn])
        assert len(scan.nodules) == len(drawn)
        for nodule in scan.nodules:
            apart = np.linalg.norm(places - nodule.world_mm, axis=1)
            one = drawn[int(apart.argmin())]
            assert apart.min() < 0.15 * one["diameter_mm"] + 0.5
            assert nodule.diameter_mm == pytest.approx(one["diameter_mm"], rel=0.2)
            assert nodule.columns["texture"] == pytest.approx(one["ratings"]["texture"], abs=1.2)


def test_an_interrupted_data_set_is_completed_to_the_same_files(tree, tmp_path):
    import shutil

    copy = shutil.copytree(tree, tmp_path / "copy")
    plans = plan_dataset(CONFIG, seed=1)
    shutil.rmtree(series_folder(copy, plans[0]))
    xml_path(copy, plans[2]).unlink()
    write_dataset(copy, CONFIG, seed=1, workers=1, progress=quiet, layout=LIDC)
    for path in tree.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (copy / path.relative_to(tree)).read_bytes(), path
    with zipfile.ZipFile(copy / "tcia-lidc-xml.zip") as archive:
        assert len(archive.namelist()) == 2
    with pytest.raises(ValueError, match="made with another"):
        write_dataset(
            copy, dataclasses.replace(CONFIG, matrix=144), seed=1, progress=quiet, layout=LIDC
        )
