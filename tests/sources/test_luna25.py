"""LUNA25: malignancy without diameters, and nodules at several dates."""

import math
import shutil

import pytest
from sources.boxes import box, quiet, table

from inres.config import Data
from inres.sources import SourceError, luna25
from inres.sources._problems import no_problems

NAME = "LUNA25_Public_Training_Development_Data.csv"
HEAD = (
    "PatientID,SeriesInstanceUID,StudyDate,CoordX,CoordY,CoordZ,LesionID,AnnotationID,NoduleID,"
    "label,Age_at_StudyDate,Gender"
)


def read(root, **fields):
    return luna25.read(root, Data(kind="luna25", **{"expect_counts": "off"} | fields), quiet)


@pytest.fixture
def tree(tmp_path):
    for uid in ("1.2.1", "1.2.2", "1.2.3"):
        box(tmp_path / "luna25_images" / f"{uid}.mha")
    table(
        tmp_path / NAME,
        HEAD,
        "7,1.2.1,19990102,0,10,40,1,7_1_19990102,7_1,1,63,Male",
        "7,1.2.2,20000102,0,11,41,1,7_1_20000102,7_1,1,64,Male",
        "7,1.2.2,20000102,30,11,41,2,7_2_20000102,7_2,0,64,Male",
    )
    return tmp_path


def test_a_patient_at_two_dates(tree):
    found = read(tree)
    assert [(s.uid, s.patient, s.study_date) for s in found.scans] == [
        ("1.2.1", "7", "19990102"), ("1.2.2", "7", "20000102")
    ]  # fmt: skip
    assert found.scans[0].columns == {"age": 63, "sex": "male"}
    pairs = [(n.name, n.columns) for s in found.scans for n in s.nodules]
    assert pairs == [
        ("7_1_19990102", {"malignant": 1, "nodule_id": "7_1"}),
        ("7_1_20000102", {"malignant": 1, "nodule_id": "7_1"}),
        ("7_2_20000102", {"malignant": 0, "nodule_id": "7_2"}),
    ]
    assert all(math.isnan(n.diameter_mm) for s in found.scans for n in s.nodules)
    assert found.messages == ("1 of 3 scans left out: the table does not name them (first: 1.2.3)",)
    named = {p.name for p in luna25.files(tree, Data())}
    assert named == {NAME, "1.2.1.mha", "1.2.2.mha", "1.2.3.mha"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("7,1.2.1,19990102,0,10,40,1,a,b,2,63,Male", r"line 5: label is 2; must be 0 or 1"),
        ("7,1.2.1,1999-02-30,0,10,40,1,a,b,0,63,Male", r"line 5: StudyDate is '1999-02-30'"),
        ("7,1.2.1,,0,10,40,1,a,b,0,63,Male", r"line 5: StudyDate is blank"),
        ("7,1.2.1,19990102,0,10,40,1,a,b,0,old,Male", r"line 5: Age_at_StudyDate is 'old'"),
        ("7,1.2.1,19990102,0,10,40,1,a,b,0,630,Male", r"line 5: Age_at_StudyDate is 630; must be"),
        (",1.2.1,19990102,0,10,40,1,a,b,0,63,Male", r"line 5: PatientID is blank"),
        ("7,1.2.1,19990102,0,10,40,1,7_1_19990102,b,0,63,M", r"7_1_19990102 in 2 lines"),
        ("8,1.2.1,19990102,0,10,40,1,a,b,0,63,M", r"1\.2\.1 has PatientID 7 and 8"),
        ("7,1.2.1,19990102,0,10,-40,1,a,b,0,63,M", r"a at \(0\.00, 10\.00, -40\.00\) mm"),
    ],
)
def test_lines_that_cannot_be(tree, line, message):
    with open(tree / NAME, "a") as file:
        file.write(line + "\n")
    with pytest.raises(SourceError, match=message):
        read(tree)


def test_a_misspelt_column_is_named(tree):
    text = (tree / NAME).read_text()
    (tree / NAME).write_text(text.replace("Age_at_StudyDate", "age at studydate"))
    with pytest.raises(SourceError, match="column age at studydate: rename it to Age_at_StudyDate"):
        read(tree)


def test_a_folder_that_is_none(tree):
    shutil.copy(tree / NAME, tree / "LUNA25_copy.csv")
    with pytest.raises(SourceError, match="2 tables"):
        read(tree)
    for path in tree.glob("*.csv"):
        path.unlink()
    with pytest.raises(SourceError, match="no table; expected one, LUNA25_Public"):
        read(tree)
    table(tree / NAME, HEAD, "7,1.2.1.mha,19990102,0,10,40,1,a,b,1,63,Male")
    with pytest.raises(SourceError, match=r"names none of the 3 scans; .*first file: 1\.2\.1"):
        read(tree)


def test_real_table(real_data):
    problems = no_problems()
    rows = luna25._rows(real_data("tables") / "luna25" / NAME, problems)
    assert not any(problems.values())
    assert (sum(map(len, rows.values())), len(rows)) == luna25.COMPLETE
    found = [luna25._finding(row) for each in rows.values() for row in each]
    assert sum(one.columns["malignant"] for one in found) == 555
    outcomes, patients = {}, set()
    for each in rows.values():
        patients.add(each[0].text("PatientID"))
        for one in map(luna25._finding, each):
            outcomes.setdefault(one.columns["nodule_id"], set()).add(one.columns["malignant"])
    assert len(patients) == 2120
    assert all(len(known) == 1 for known in outcomes.values()), "the same at all dates"
