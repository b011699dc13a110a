"""The LUNA16 tree: what is read, what is refused, and how problems are reported."""

import shutil

import numpy as np
import pytest
from ct.trees import write_tree

from inres.config import Data
from inres.ct.header import Header
from inres.sources import SourceError, _scans, luna16

SCANS = [
    {"uid": "b", "subset": 0, "nodules": [(-60, 0, 10, 12.5), (60, 5, -20, 6)]},
    {"uid": "a", "subset": 3, "nodules": [(70, 10, 0, 4.5)], "flips": (-1, -1, 1)},
    {"uid": "c", "subset": 0},
]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    rows = [("a", 60, 0, 5, -1), ("c", 60, 0, 5, 3.5)]
    return write_tree(tmp_path_factory.mktemp("tree"), SCANS, excluded=rows, masks=True)


@pytest.fixture
def tree(built, tmp_path):
    return shutil.copytree(built, tmp_path / "tree")


def read(root, **fields):
    data = Data(kind="luna16", **{"expect_counts": "off"} | fields)
    return luna16.read(root, data, lambda steps, **_: steps)


def add(root, *rows):
    with open(root / "annotations.csv", "a") as file:
        file.writelines(row + "\n" for row in rows)


def test_reads_scans_with_their_findings(tree):
    result = read(tree)
    assert [(s.uid, s.subset) for s in result.scans] == [("b", 0), ("c", 0), ("a", 3)]
    b, c, a = result.scans
    assert b.path == tree / "subset0" / "b.mhd"
    assert [f.world_mm for f in b.nodules] == [(-60, 0, 10), (60, 5, -20)]
    assert [f.diameter_mm for f in b.nodules] == [12.5, 6]
    assert [f.diameter_mm for f in c.excluded] == [3.5]
    assert np.isnan(a.excluded[0].diameter_mm)
    assert a.lung_mask == tree / "seg-lungs-LUNA16" / "a.mhd"
    names = [f.name for s in result.scans for f in (*s.nodules, *s.excluded)]
    assert len(set(names)) == len(names) == 5
    assert result.messages == ()


def test_old_layout_of_the_tables(tree):
    (tree / "CSVFILES").mkdir()
    (tree / "annotations.csv").rename(tree / "CSVFILES" / "annotations.csv")
    assert len(read(tree).scans[0].nodules) == 2


def test_the_files_of_a_tree_are_all_files_that_are_read(tree):
    """In every place that is read, so that any change is noticed."""
    (tree / "CSVFILES").mkdir()
    (tree / "annotations.csv").rename(tree / "CSVFILES" / "annotations.csv")
    deep = tree / "subset0" / "subset0"
    deep.mkdir()
    for path in list((tree / "subset0").glob("*.*")):
        path.rename(deep / path.name)
    found = luna16.files(tree, Data())
    assert len(found) == len(set(found))
    assert {tree / "CSVFILES" / "annotations.csv", *deep.glob("*.mhd")} <= set(found)
    assert {entry.path for entry in read(tree).scans} <= set(found)
    masks = {path for path in (tree / "seg-lungs-LUNA16").glob("*") if path.suffix != ".txt"}
    assert set(luna16.files(tree, Data(lung_masks="luna16"))) - set(found) == masks


@pytest.mark.parametrize("name", ["annotations.csv", "annotations_excluded.csv"])
def test_a_table_without_any_present_scan_is_refused(tree, name):
    table = tree / name
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *(row.replace(",", ".mhd,", 1) for row in rows)]) + "\n")
    with pytest.raises(
        SourceError,
        match=rf"tables without any finding of a scan.*\n.*{name} has '[abc]\.mhd', .*\.mhd",
    ):
        read(tree)


def test_excluded_findings_of_omitted_scans_are_no_error(tmp_path):
    thick = {"uid": "thick", "subset": 1, "spacing": (3.2, 3.2, 5.0)}
    rows = [("thick", 60, 0, 5, 3.5), ("elsewhere", 60, 0, 5, 3.5)]
    (only,) = read(write_tree(tmp_path, [SCANS[0], thick], excluded=rows)).scans
    assert (only.uid, only.excluded) == ("b", ())
    (tmp_path / "annotations_excluded.csv").write_text(
        "seriesuid,coordX,coordY,coordZ,diameter_mm\n"
    )
    assert len(read(tmp_path).scans) == 1


def test_excluded_findings_outside_their_scans_are_a_message(tree):
    """Such as by another sign or unit: normal slices then do not avoid them."""
    table = tree / "annotations_excluded.csv"
    first = read(tree)
    count = sum(len(scan.excluded) for scan in first.scans)
    lines = table.read_text().splitlines()
    uid, x, y, _, diameter = lines[1].split(",")
    table.write_text("\n".join([lines[0], f"{uid},{x},{y},1e300,{diameter}", *lines[2:]]) + "\n")
    (message,) = set(read(tree).messages) - set(first.messages)
    assert message.startswith(f"1 of {count} findings of annotations_excluded.csv lie outside")
    assert "1e+300) mm; " in message


def test_a_table_without_rows_is_a_message(tree):
    table = tree / "annotations.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    assert "annotations.csv has no rows: every slice counts as normal" in read(tree).messages


def test_no_excluded_findings_is_a_message(tree):
    (tree / "annotations_excluded.csv").unlink()
    assert "annotations_excluded.csv not found" in read(tree).messages[0]


def test_thickness_rule(tree):
    only = read(tree, max_thickness_mm=2.5)
    assert len(only.scans) == 3
    with pytest.raises(SourceError, match=r"no scan left.*3 of 3.*max_thickness_mm = 0 keeps"):
        read(tree, max_thickness_mm=2.0)
    assert len(read(tree, max_thickness_mm=0).scans) == 3


def test_thick_scans_are_left_out_and_counted(tmp_path):
    thick = {"uid": "thick", "subset": 1, "spacing": (3.2, 3.2, 5.0)}
    result = read(write_tree(tmp_path, [SCANS[0], thick]))
    assert [s.uid for s in result.scans] == ["b"]
    assert "1 of 2 scans left out" in result.messages[0]


def test_all_problems_are_reported_together(tree):
    shutil.copy(tree / "subset0" / "c.mhd", tree / "subset3" / "c.mhd")
    (tree / "subset0" / "b.zraw").unlink()
    wrong = "a,1,2,3000,5", "a,one,2,3,5", "a,1,2,3,0", "a,70,10,0,4.5", "a,1,1,1,-1"
    add(tree, *wrong, "a,1,2,3,5000", "a,1,2,3,200.1")
    with pytest.raises(SourceError) as error:
        read(tree)
    text = str(error.value)
    assert "annotations.csv: line 6: coordX is 'one', not a number" in text
    assert "annotations.csv: line 7: diameter_mm is 0; must be above 0" in text
    assert "a/1 at (1.00, 2.00, 3000.00) mm" in text
    assert "subset3/a.mhd reaches from" in text
    assert "b.zraw is missing" in text
    assert str(tree / "subset0/c.mhd") + " and " + str(tree / "subset3/c.mhd") in text
    assert "a/0 at (70.00, 10.00, 0.00) mm" in text, "annotated twice"
    assert "annotations without a diameter" in text
    assert "line 10: diameter_mm is 5000; must be 0 to 200 mm (is it in another unit?)" in text
    assert "line 11: diameter_mm is 200.1" in text
    assert "9 problem(s)" in text.splitlines()[0]


def test_many_problems_are_counted_not_listed(tree):
    add(tree, *(f"a,{n},2,3000,5" for n in range(25)))
    with pytest.raises(SourceError, match=r"25 x annotations outside.*\n(.*\n)+.*and 15 more"):
        read(tree)


def test_flipped_scan_contains_its_annotations(tree):
    """If the sign of the direction were ignored, the nodule would be outside."""
    flipped = next(s for s in read(tree).scans if s.uid == "a")
    assert len(flipped.nodules) == 1


@pytest.mark.parametrize("name", ["annotations.csv", "annotations_excluded.csv"])
def test_missing_column(tree, name):
    (tree / name).write_text("seriesuid,coordX,coordY,diameter_mm\na,1,2,3\n")
    with pytest.raises(SourceError, match=rf"{name}: column coordZ missing \(found: seriesuid"):
        read(tree)


def test_table_that_is_no_text(tree):
    (tree / "annotations.csv").write_bytes(b"\xff\xfe\x00\x81" * 9)
    with pytest.raises(SourceError, match=r"annotations\.csv: not a text table"):
        read(tree)


def test_no_tree(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        read(tmp_path / "absent")
    with pytest.raises(SourceError, match="expected subset0 to subset9"):
        read(tmp_path)


def test_missing_annotations(tree):
    (tree / "annotations.csv").unlink()
    with pytest.raises(SourceError, match=r"annotations\.csv: no such file; expected columns"):
        read(tree)


def test_missing_masks_only_where_needed(tree):
    (tree / "seg-lungs-LUNA16" / "a.mhd").unlink()
    assert next(s for s in read(tree).scans if s.uid == "a").lung_mask is None
    with pytest.raises(SourceError, match=r"1 x scans without a lung mask.*\n.*a\.mhd"):
        read(tree, lung_masks="luna16")


@pytest.mark.parametrize("lost", ["missing", "truncated"])
def test_a_mask_without_its_data_is_refused_where_it_is_needed(tree, lost):
    data = tree / "seg-lungs-LUNA16" / "a.zraw"
    data.unlink() if lost == "missing" else data.write_bytes(data.read_bytes()[:10])
    assert len(read(tree).scans) == 3
    with pytest.raises(SourceError, match=rf"1 x scans without a lung mask.*\n.*a\.zraw.*{lost}"):
        read(tree, lung_masks="luna16")


def test_partial_tree_is_a_message_unless_strict(tree):
    add(tree, "elsewhere,1,2,3,4", "elsewhere,1,2,4,4", "nowhere,1,2,3,4")
    with open(tree / "annotations_excluded.csv", "a") as file:
        file.write("elsewhere,1,2,3,-1\n")
    result = read(tree, expect_counts="auto")
    text = "\n".join(result.messages)
    assert "this tree has 3 scans, the complete LUNA16 888" in text
    assert "annotations.csv has 6 findings of 4 scans, the complete LUNA16 1186 of 601" in text
    assert "3 of 6 findings of annotations.csv left out: their 2 scans are not in this" in text
    assert "excluded.csv has 3 findings of 3 scans, the complete LUNA16 35192 of 888" in text
    assert "1 of 3 findings of annotations_excluded.csv left out: their 1 scans are" in text
    # Otherwise the counts are free, but findings of a misspelt series are still reported.
    messages = read(tree, expect_counts="off").messages
    assert [text.split(" left out")[0] for text in messages] == [
        "3 of 6 findings of annotations.csv",
        "1 of 3 findings of annotations_excluded.csv",
    ]
    with pytest.raises(SourceError, match="not the complete LUNA16"):
        read(tree, expect_counts="strict")


def complete(monkeypatch, root, real_data, **rows):
    """A tree of empty scan files with the real tables, and headers that contain all positions.

    Tables named by `rows` are cut to that number of rows.
    """
    folder = root / "subset0"
    folder.mkdir(parents=True)
    tables = real_data("luna16_csv")
    for uid in (tables / "seriesuids.csv").read_text().split():
        (folder / f"{uid}.mhd").touch()
    for name in ("annotations", "annotations_excluded"):
        lines = (tables / f"{name}.csv").read_text().splitlines(keepends=True)
        (root / f"{name}.csv").write_text("".join(lines[: rows.get(name, len(lines)) + 1]))
    wide = {"spacing_mm": (1.0,) * 3, "origin_mm": (-5000.0,) * 3, "direction": np.eye(3)}
    monkeypatch.setattr(
        _scans, "read_header", lambda path, **_: Header(path=path, shape=(9999,) * 3, **wide)
    )
    return root


def test_real_tables_are_complete(monkeypatch, tmp_path, real_data):
    result = read(complete(monkeypatch, tmp_path, real_data), expect_counts="strict")
    assert len(result.scans) == 888
    assert sum(len(s.nodules) for s in result.scans) == 1186
    assert sum(bool(s.nodules) for s in result.scans) == 601
    assert sum(len(s.excluded) for s in result.scans) == 35192
    assert result.messages == ()


def test_truncated_tables_are_recognised(monkeypatch, tmp_path, real_data):
    root = complete(monkeypatch, tmp_path, real_data, annotations=1117, annotations_excluded=30000)
    first, second = read(root, expect_counts="auto").messages
    assert first.startswith("annotations.csv has 1117 findings")
    assert "truncated copy" in first
    assert second.startswith("annotations_excluded.csv has 30000 findings")
    assert "truncated copy" not in second
    with pytest.raises(SourceError, match=r"(?s)1117 findings.*30000 findings"):
        read(root, expect_counts="strict")


def test_real_thick_scan(real_data):
    with pytest.raises(SourceError, match=r"slices thicker than 2\.5 mm \(up to 5\)"):
        read(real_data("luna16_mini"))
    (only,) = read(real_data("luna16_mini"), max_thickness_mm=0).scans
    assert (only.uid, only.subset, len(only.nodules)) == ("lung1", 0, 1)


def test_further_columns_of_numbers_are_properties(tree):
    head, *rows = (tree / "annotations.csv").read_text().splitlines()
    more = ["texture,comment,mine", "4.5,12,1", " ,round,", "5,3,2"]
    lines = [",".join(pair) for pair in zip([head, *rows], more, strict=True)]
    (tree / "annotations.csv").write_text("\n".join(lines) + "\n")
    columns = [f.columns for scan in read(tree).scans for f in scan.nodules]
    assert columns == [{"texture": 4.5, "mine": 1}, {}, {"texture": 5, "mine": 2}]
    (tree / "annotations.csv").write_text("\n".join(lines).replace("4.5", "high") + "\n")
    with pytest.raises(SourceError, match=r"csv: line 2: texture is 'high', not a number"):
        read(tree)
