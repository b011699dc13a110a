"""LNDb: readers listed in cells, ratings of each reader, findings that are no nodules."""

import math

import numpy as np
import pytest
from sources.boxes import box, quiet, table

from inres import vocabulary
from inres.config import Data
from inres.sources import SourceError, lndb
from inres.sources._problems import no_problems

GT = "LNDbID,RadID,RadFindingID,FindingID,x,y,z,AgrLevel,Nodule,Volume,Text"
CHARS = (
    "LNDbID,RadID,FindingID,calcification,internalStructure,lobulation,malignancy,margin,"
    "sphericity,spiculation,subtlety"
)


def read(root, **fields):
    return lndb.read(root, Data(kind="lndb", **{"expect_counts": "off"} | fields), quiet)


@pytest.fixture
def tree(tmp_path):
    for place in ("data0/LNDb-0001", "data5/LNDb-0311", "data1/LNDb-0044", "masks/LNDb-0001_rad1"):
        box(tmp_path / f"{place}.mhd")
    table(
        tmp_path / "trainNodules_gt.csv",
        GT,
        f'1,"1,2,3","1,4,2",1,0,10,40,2,"1,0,1",{4 / 3 * math.pi * 27:.6f},"5,3"',
        "1,2,1,2,20,10,40,0,0,14.137167,",
        '311,"1,2","1,1",1,-60,30,50,1,1,14.137167,0',
    )
    return tmp_path


def test_nodules_by_any_reader_and_other_findings(tree):
    first, normal, last = read(tree).scans
    assert [s.uid for s in (first, normal, last)] == ["LNDb-0001", "LNDb-0044", "LNDb-0311"]
    (nodule,), (other,) = first.nodules, first.excluded
    assert nodule.world_mm == (0, 10, 40)
    assert nodule.diameter_mm == pytest.approx(6, abs=1e-6)
    assert nodule.columns == {"readers": 2, "texture": 4, "texture_sd": 1}
    assert math.isnan(other.diameter_mm)
    assert normal.nodules == normal.excluded == ()
    assert last.nodules[0].columns == {"readers": 2}
    text = "\n".join(read(tree).messages)
    assert "1 nodules are below 3 mm and were not measured" in text
    assert "chars_trainNodules.csv not found" in text


def test_ratings_of_the_readers_who_call_it_a_nodule(tree):
    table(
        tree / "chars_trainNodules.csv",
        CHARS,
        "1.0,1.0,1.0,6.0,1.0,1.0,2.0,4.0,2.0,2.0,5.0",
        "1.0,2.0,4.0,5.0,1.0,1.0,5.0,5.0,5.0,5.0,1.0",
        "1.0,3.0,2.0,3.0,4.0,1.0,0.0,4.0,4.0,3.0,4.0",
    )
    columns = read(tree).scans[0].nodules[0].columns
    assert columns["calcification"] == 4.5
    assert columns["calcification_sd"] == 1.5
    assert columns["malignancy"] == 2  # 0 is no rating
    assert "malignancy_sd" not in columns
    assert columns["margin_sd"] == 0
    assert columns["subtlety"] == 4.5
    assert columns["internal_structure"] == 1  # a kind, of which there is no mean
    assert "internal_structure_sd" not in columns


def test_a_negative_rating_is_refused(tree):
    table(tree / "chars_trainNodules.csv", CHARS, "1,1,1,6,1,1,2,4,2,2,-5")
    with pytest.raises(SourceError, match=r"line 2: subtlety is -5; must be 1 to 5, or blank"):
        read(tree)


def test_official_folds(tree):
    folds = table(tree / "trainset_csv" / "trainFolds.csv", "Fold0,Fold1", "1,44", "311,")
    assert [s.subset for s in read(tree).scans] == [0, 1, 0]
    table(folds, "Fold0,Fold1", "1,44", "311,1")
    with pytest.raises(SourceError, match=r"line 3: scan 1 is in folds 0 and 1; remove one"):
        read(tree)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('1,"1,2",1,3,0,10,40,1,1,20,', r"line 5: 2 readers in RadID, 1 in RadFindingID, 1 in Nod"),
        ("1,1,1,3,0,10,40,1,1,,", r"line 5: the nodule has no size"),
        ("1,1,1,3,0,,40,1,1,20,", r"line 5: y is '', not a number"),
        ("one,1,1,3,0,1,40,1,1,20,", r"line 5: LNDbID is 'one', not a number"),
        ("1,,,3,0,1,40,1,1,20,", r"line 5: 0 readers in RadID"),
        ('1,"1,2","1,1",3,0,1,40,1,"1,-1",20,', r"line 5: Nodule is 1,-1; must be 0 or 1"),
        ("1,1,1,3,0,10,400,1,1,20,", r"LNDb-0001/3 at \(0\.00, 10\.00, 400\.00\) mm"),
    ],
)
def test_lines_that_cannot_be(tree, line, message):
    with open(tree / "trainNodules_gt.csv", "a") as file:
        file.write(line + "\n")
    with pytest.raises(SourceError, match=message):
        read(tree)


def test_no_table_and_no_scans(tmp_path):
    with pytest.raises(SourceError, match="no scans; expected data0/LNDb-0001"):
        read(tmp_path)
    box(tmp_path / "data0/LNDb-0001.mhd")
    with pytest.raises(SourceError, match=r"no table of nodules; expected allNods\.csv or train"):
        read(tmp_path)


def test_real_tables_agree_with_each_other(real_data):
    """The mean ratings of one table are the means of the other's readers."""
    problems, messages = no_problems(), []
    root = real_data("tables") / "lndb"
    found = lndb._findings(root, problems, messages)
    assert not any(problems.values())
    assert len(found) == 228
    nodules = [one for both in found.values() for one in both[0]]
    assert (len(nodules), sum(len(both[1]) for both in found.values())) == (768, 384)
    assert messages[0].startswith("82 of 1234 rows of allNods.csv left out")
    assert "143 nodules are below 3 mm" in messages[1]
    known = {one.name: one for one in vocabulary.PROPERTIES}
    for one in nodules:
        for name, value in one.columns.items():
            if name in known:
                assert known[name].low <= value <= known[name].high
    opinions = lndb._opinions(root, problems)
    assert len(opinions) == 1527
    first = next(one for one in nodules if one.name == "LNDb-0001/1")
    marks = [(1, 1, 1), (1, 2, 1), (1, 3, 1)]
    for name in ("calcification", "spiculation", "subtlety"):
        single = [opinions[mark][name] for mark in marks]
        assert first.columns[name] == pytest.approx(np.mean(single))
        assert first.columns[f"{name}_sd"] == pytest.approx(np.std(single))
