"""items.csv, read and checked."""

import dataclasses

import pytest

from inres.data import item_table, items
from inres.data.items import Item


def item(**values):
    return items.Item(**{"image": "", "scan": "s", "nodule": "", "label": 0, **values})


def test_a_table_comes_back_as_it_was(tmp_path):
    rows = [item(scan="a,b", label=1, diameter_mm=4 / 3), item(image="ü.png", label=2, subset=3)]
    for table in (rows, [dataclasses.replace(row, label=-1) for row in rows]):
        item_table.write_table(tmp_path / "items.csv", table)
        again = item_table.read_table(tmp_path / "items.csv")
        assert repr(again) == repr(table)  # NaN is not equal to itself


def test_other_columns_of_the_names_of_fields_come_back(tmp_path):
    names = [item_table.record_name(name) for name in ("label", "row", "split", "nodule")]
    assert names == ["label_", "row_", "split_", "nodule_"]
    rows = [item(texts=dict.fromkeys(names[2:], "x"), properties=dict.fromkeys(names[:2], 1.0))]
    item_table.write_table(tmp_path / "items.csv", rows)
    (again,) = item_table.read_table(tmp_path / "items.csv")
    assert (again.texts, again.properties) == (rows[0].texts, rows[0].properties)


def test_every_bad_line_is_reported(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("image,scan,label,diameter_mm\na,s,1,x\nb,s,1.5,3\nc,s,1,-2\nd,s,1,4\n")
    with pytest.raises(ValueError, match=r"line 2.*\n.*line 3.*\n.*line 4"):
        item_table.read_table(path)
    path.write_text("image,scan\n")
    with pytest.raises(ValueError, match="column label missing"):
        item_table.read_table(path)
    path.write_text("image,scan,label\n")
    with pytest.raises(ValueError, match="no items"):
        item_table.read_table(path)


def read(tmp_path, *lines):
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    return item_table.read_table(tmp_path / "items.csv")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "image,scan,label,Patient,SPLIT",
            r"items\.csv: column Patient, SPLIT: rename it to patient, s",
        ),
        ("image,scan,label,diameter-mm,x", "diameter-mm: rename it to diameter_mm, or remove it"),
        ("image,scan,label,label,x", "column label occurs twice"),
        ("image,scan,label,diameter,x", r"column diameter: rename it to diameter_mm, or remove it"),
    ],
)
def test_a_misspelt_column_is_refused(tmp_path, header, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, header, "a,s,1,1,1")


def test_spaces_around_names_and_values_are_removed(tmp_path):
    first, second = read(
        tmp_path, "image, scan,label, patient,nodule,split,own",
        " a.png,s , 1,p ,n,train ,x", "b.png,s,1, p, n ,train,y",
    )  # fmt: skip
    known = {"nodule": "n", "label": 1, "split": "train", "patient": "p", "texts": {"own": "x"}}
    assert repr(first) == repr(item(image="a.png", **known))
    assert (first.scan, first.patient, first.nodule) == (second.scan, second.patient, second.nodule)


def test_rows_that_contradict_each_other_are_refused(tmp_path):
    header = "image,scan,label,patient"
    with pytest.raises(
        ValueError, match="line 4: scan 1 belongs to patient q, but in line 2 to p; make"
    ):
        read(tmp_path, header, "a,1,0,p", "b,1,0,", "c,1,0,q")
    with pytest.raises(ValueError, match=r"line 5: image \./a is also in line 3"):
        read(tmp_path, header, "", "a,1,0,p", "b,2,0,p", "./a,3,0,p")
    assert len(read(tmp_path, header, ",1,0,p", ",1,0,p")) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b,s,-1,", r"line 4: label is -1 \(1 such rows\), but other rows have a class; give all"),
        ("b,s,,", r"line 4: label is blank \(1 such rows\), but other rows"),
        ("b,s,-2,", "line 4: label is -2; must be 0 or more, or blank"),
        ("b,s,2000000000,", "line 4: label is 2000000000, but there are only 2 classes; number"),
        ("b,s,1e300,", "line 4: label is 1e300; must be 0 to 2147483647, or blank"),
        ("b,s,1,0", "line 4: malignancy is 0; must be 1 to 5, or blank"),
        ("b,s,1,5.5", "line 4: malignancy is 5.5; must"),
        (
            "b,s,1,,5000",
            r"line 4: diameter_mm is 5000; must be 0 to 200 mm \(is it in another unit",
        ),
        ("b,s,1,,0.008", "line 4: diameter_mm is 0.008, less than CT shows"),
        ("b,s,1,,-3", "line 4: diameter_mm is -3; must be 0 to 200, or blank"),
    ],
)
def test_a_value_out_of_its_range_is_refused(tmp_path, row, message):
    """Line numbers include blank lines."""
    row += "," * (4 - row.count(","))
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "image,scan,label,malignancy,diameter_mm", "a,s,0,1.25,", "", row)


def test_labels_may_be_unknown_or_leave_gaps(tmp_path):
    assert [i.label for i in read(tmp_path, "image,scan,label", "a,s,", "b,s,-1")] == [-1, -1]
    assert [i.label for i in read(tmp_path, "image,scan,label", "a,s,0", "b,s,60")] == [0, 60]


def test_no_nodule_is_0_mm_where_nodules_have_diameters(tmp_path):
    def diameters(*rows):
        table = read(tmp_path, "image,scan,label,diameter_mm", *rows)
        return repr([item.diameter_mm for item in table])

    assert diameters("a,s,0,", "b,s,1,", "c,s,2,7") == "[0.0, nan, 7.0]"
    assert diameters("a,s,0,", "b,s,1,") == "[nan, nan]"
    # Benign or malignant nodules: 0 is none without a nodule.
    assert diameters("a,s,0,4", "b,s,0,", "c,s,1,9", "d,s,1,") == "[4.0, nan, 9.0, nan]"


def test_a_table_that_was_written_may_have_rows_that_a_users_table_may_not(tmp_path):
    """Items of several folders: equal names of images, and classes that are not known of all."""
    rows = [
        Item("a.png", "s1", label=2, diameter_mm=5.5, properties={"texture": 2.0}),
        Item("a.png", "s2", label=-1, texts={"kind": "soft"}),
        Item("", "s2", label=0, patient="p"),
        Item("b.png", "s2", label=0, patient="q"),
    ]
    item_table.write_table(tmp_path / "items.csv", rows)
    assert str(item_table.read_written(tmp_path / "items.csv")) == str(rows)
    with pytest.raises(ValueError, match="line 3: label is blank"):
        item_table.read_table(tmp_path / "items.csv")
