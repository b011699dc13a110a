"""Tianchi 2017: parts, tables in several places, and names in two spellings."""

import itertools
import shutil

import numpy as np
import pytest
from sources.boxes import box, quiet, table

from inres.config import Data, Phantom
from inres.phantoms import tianchi_layout
from inres.phantoms.dataset import write_dataset
from inres.sources import SourceError, tianchi
from inres.system import files

HEAD = "seriesuid,coordX,coordY,coordZ,diameter_mm"


def read(root, **fields):
    return tianchi.read(root, Data(kind="tianchi", **{"expect_counts": "off"} | fields), quiet)


@pytest.fixture
def tree(tmp_path):
    for place in (
        "train_subset00/LKDS-00001",
        "train_subset14/LKDS-00002",
        "val_subset03/LKDS_00003",
    ):
        box(tmp_path / f"{place}.mhd")
    box(tmp_path / "test_subset00/LKDS-00009.mhd")
    table(
        tmp_path / "csv/train/annotations.csv",
        HEAD,
        "LKDS-00001,0,10,40,7.5",
        "LKDS_00002,5,10,40,12",
        "LKDS-00002,-60,10,50,6",
    )
    table(tmp_path / "csv/val/annotations.csv", HEAD, "LKDS-00003,0,0,35,4")
    return tmp_path


def test_parts_become_folds_and_names_match_in_both_spellings(tree):
    found = read(tree)
    assert [(s.uid, s.subset, s.patient) for s in found.scans] == [
        ("LKDS-00001", 0, "LKDS-00001"),
        ("LKDS-00002", 14, "LKDS-00002"),
        ("LKDS-00003", 103, "LKDS-00003"),
    ]
    assert [[n.diameter_mm for n in s.nodules] for s in found.scans] == [[7.5], [12, 6], [4]]
    names = [n.name for s in found.scans for n in s.nodules]
    assert len(set(names)) == 4
    (left_out,) = found.messages
    assert left_out.startswith("1 of 4 scans left out: no table has nodules of them")
    assert "test_subset00" in left_out


def test_tables_next_to_the_folders(tree):
    for part in ("train", "val"):
        (tree / "csv" / part / "annotations.csv").rename(tree / f"annotations_{part}.csv")
    shutil.rmtree(tree / "csv")
    assert [len(s.nodules) for s in read(tree).scans] == [1, 2, 1]
    assert {p.name for p in tianchi.files(tree, Data())} >= {
        "annotations_train.csv", "annotations_val.csv", "LKDS-00001.mhd", "LKDS-00001.raw"
    }  # fmt: skip


def test_a_copy_of_a_table_counts_once(tree):
    shutil.copy(tree / "csv/train/annotations.csv", tree / "annotations.csv")
    found = read(tree)
    assert [len(s.nodules) for s in found.scans] == [1, 2, 1]
    assert any(text.startswith("3 rows are in several tables") for text in found.messages)


def test_all_problems_are_reported_together(tree):
    box(tree / "train_subset01/LKDS-00001.mhd")
    with open(tree / "csv/train/annotations.csv", "a") as file:
        file.write(
            "LKDS-00002,5,10,40,12\nLKDS-00002,5,10,4000,12\nLKDS-00002,1,1,41,-1\nLKDS-00002,a,1,41,1\n"
        )
    with pytest.raises(SourceError) as error:
        read(tree)
    text = str(error.value)
    assert text.splitlines()[0].endswith("5 problem(s)")
    for part in ("annotated twice", "4000.00) mm; ", "without a diameter", "line 8: coordX is 'a'"):
        assert part in text
    assert "train_subset00/LKDS-00001.mhd and " in text


def test_nodules_inside_each_other_are_a_message(tree):
    with open(tree / "csv/val/annotations.csv", "a") as file:
        file.write("LKDS-00003,1,0,35,4.4\n")
    found = read(tree)
    assert len(found.scans[-1].nodules) == 2
    assert any("1 pairs of nodules lie inside each other" in text for text in found.messages)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda root: shutil.rmtree(root / "csv"), r"no table of nodules; expected csv/train"),
        (
            lambda root: [p.unlink() for p in root.rglob("*.mhd")],
            r"no scans; expected train_subset",
        ),
        (
            lambda root: [
                table(p, HEAD, "elsewhere,1,2,3,4") for p in root.rglob("annotations.csv")
            ],
            r"name none of the 4 scans; they have elsewhere, the scans are LKDS-00001",
        ),
    ],
)
def test_a_tree_that_is_none(tree, broken, message):
    broken(tree)
    with pytest.raises(SourceError, match=message):
        read(tree)


def test_missing_scans_and_counts_are_messages(tree):
    shutil.rmtree(tree / "train_subset14")
    messages = "\n".join(read(tree, expect_counts="auto").messages)
    assert (
        "2 of 4 nodules left out: their 1 scans are not in this tree (first: LKDS-00002)"
        in messages
    )
    assert "has 3 scans, the complete Tianchi 2017 1000" in messages


def test_real_tables(tmp_path, real_data):
    """All patients have nodules, in one part each; some nodules are listed twice, 1 mm apart."""
    for part in ("train", "val"):
        name = f"annotations_tianchi_{part}.csv"
        shutil.copy(real_data("tables") / "tianchi" / name, tmp_path / name)
    uids = {
        row["seriesuid"]: part
        for part in ("train", "val")
        for row in files.read_csv(tmp_path / f"annotations_tianchi_{part}.csv", ("seriesuid",))
    }
    wide = {"size": (120,) * 3, "spacing": (25.0,) * 3, "origin": (-1500.0, -1500.0, -900.0)}
    one = box(tmp_path / "one.mhd", **wide)
    for uid, part in uids.items():
        folder = tmp_path / f"{part}_subset{int(uid[-5:]) % 5:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{uid}.mhd").write_text(
            one.read_text().replace("one.raw", str(tmp_path / "one.raw"))
        )
    found = read(tmp_path, max_thickness_mm=0)
    assert len(found.scans) == 800
    sizes = [n.diameter_mm for s in found.scans for n in s.nodules]
    assert len(sizes) == 975 + 269
    assert (min(sizes), max(sizes)) == pytest.approx((2.9002, 39.9667), abs=1e-4)
    assert sum(s.subset >= tianchi.VALIDATION for s in found.scans) == 200
    close = sum(
        np.linalg.norm(np.subtract(a.world_mm, b.world_mm)) < min(a.diameter_mm, b.diameter_mm) / 2
        for s in found.scans
        for a, b in itertools.combinations(s.nodules, 2)
    )
    assert close == 18
    assert found.messages[0].startswith("18 pairs of nodules lie inside each other")


@pytest.mark.slow
def test_phantoms_in_this_layout(tmp_path):
    config = Phantom(
        scans=4, subsets=2, nodules_per_scan=2.0, normal_scans=0.25, matrix=128, extent_mm=80.0
    )
    write = {"seed": 1, "workers": 1, "progress": quiet, "layout": tianchi_layout.TIANCHI}
    write_dataset(tmp_path, config, **write)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    write_dataset(tmp_path, config, **write)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    found = read(tmp_path)
    drawn = [files.read_json(p)["annotations"] for p in (tmp_path / "findings").iterdir()]
    places = sorted(tuple(f["centre"]) for scan in drawn for f in scan)
    assert sorted(n.world_mm for s in found.scans for n in s.nodules) == places
    assert {s.subset for s in found.scans} == {0, 100}
    assert len(found.scans) == 3
    assert "LKDS_" in (tmp_path / "csv/train/annotations.csv").read_text()
