import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inres.data import items
from inres.sources import luna16


def item(**values):
    return items.Item(**{"image": "", "scan": "s", "nodule": "", "label": 0, **values})


def test_classes_are_table_2s_where_labels_are_sizes():
    unknown, known = np.full(3, np.nan), np.array([4.0, 7.0, np.nan])
    binary = np.array([0.0, 7.0, np.nan])

    def names(labels, diameters):
        return items.class_names(np.array(labels), np.array(diameters))

    assert names([1, 3, 2], known) == items.CLASS_NAMES
    assert names([1, 3, 2], unknown) == ("0", "1", "2", "3")
    assert names([0, 1, 0], binary) == names([0, 1, 0], unknown) == ("no nodule", "nodule")
    assert names([0, 1, 1], known) == ("0", "1")  # a class 0 of nodules, as benign and malignant
    assert len(names([0, 9, 1], known)) == 10
    assert names([1, 2, 2], known) == ("0", "1", "2")  # 7 mm is no 5 to 6 mm
    assert len(names([0, 2, 1], [4.0, 5.5, 4.0])) == 3
    assert names([0, 7, 1], unknown)[7] == "7"  # eight classes of one's own


@given(st.floats(0.001, 200.0))
def test_size_class_counts_the_edges_below(diameter):
    assert items.size_class(diameter) == 1 + sum(edge <= diameter for edge in (5, 6, 8, 13, 18, 23))


def test_no_nodule_is_class_zero_and_nonsense_is_refused():
    assert items.size_class(np.array([0.0, 4.99, 5.0, 23.0])).tolist() == [0, 1, 2, 7]
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            items.size_class(bad)


def test_a_table_comes_back_as_it_was(tmp_path):
    rows = [item(scan="a,b", label=1, diameter_mm=1 / 3), item(image="ü.png", label=2, subset=3)]
    for table in (rows, [dataclasses.replace(row, label=-1) for row in rows]):
        items.write_table(tmp_path / "items.csv", table)
        again = items.read_table(tmp_path / "items.csv")
        assert repr(again) == repr(table)  # NaN is not equal to itself


def test_every_bad_line_is_reported(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("image,scan,label,diameter_mm\na,s,1,x\nb,s,1.5,3\nc,s,1,-2\nd,s,1,4\n")
    with pytest.raises(ValueError, match=r"line 2.*\n.*line 3.*\n.*line 4"):
        items.read_table(path)
    path.write_text("image,scan\n")
    with pytest.raises(ValueError, match="column label missing"):
        items.read_table(path)
    path.write_text("image,scan,label\n")
    with pytest.raises(ValueError, match="no items"):
        items.read_table(path)


def read(tmp_path, *lines):
    (tmp_path / "items.csv").write_text("\n".join(lines) + "\n")
    return items.read_table(tmp_path / "items.csv")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "image,scan,label,Patient,SPLIT",
            r"items\.csv: column Patient, SPLIT: rename it to patient, s",
        ),
        ("image,scan,label,diameter-mm,x", "diameter-mm: rename it to diameter_mm, or remove it"),
        ("image,scan,label,label,x", "column label occurs twice"),
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
    assert repr(first) == repr(item(image="a.png", nodule="n", label=1, split="train", patient="p"))
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
        ("b,s,5000000000,", "line 4: label is 5000000000, but there are only 2 classes; number"),
        ("b,s,1,0", "line 4: malignancy is 0; must be a rating of 1 to 5"),
        ("b,s,1,5.5", "line 4: malignancy is 5.5; must"),
    ],
)
def test_a_value_out_of_its_range_is_refused(tmp_path, row, message):
    """Line numbers include blank lines."""
    with pytest.raises(ValueError, match=message):
        read(tmp_path, "image,scan,label,malignancy", "a,s,0,1.25", "", row)


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


def test_a_store_whose_parts_disagree_is_refused(tmp_path):
    items.write_table(tmp_path / "items.csv", [item(), item()])
    with pytest.raises(FileNotFoundError, match=r"slices\.npy"):
        items.open_store(tmp_path)
    np.save(tmp_path / "slices.npy", np.zeros((3, 4, 4), np.uint8))
    with pytest.raises(ValueError, match=r"3, 4, 4.*2 rows"):
        items.open_store(tmp_path)
    (tmp_path / "slices.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match=r"slices\.npy: damaged"):
        items.open_store(tmp_path)
    np.save(tmp_path / "slices.npy", np.zeros((2, 4, 4), np.uint8))
    store = items.open_store(tmp_path)
    assert store.lung_masks is None
    assert store.column("scan").tolist() == ["s", "s"]


def test_every_item_has_a_name_and_a_patient():
    rows = [
        item(image="a.png", scan="s", patient="p"),
        item(image="a.png", scan="s"),
        item(nodule="n", scan="t"),
        item(scan="t", x_mm=1.5, y_mm=2.0, z_mm=-3.25),
        item(scan="t", x_mm=1.5, y_mm=2.0, z_mm=-3.25),
        item(scan="", image="b.png"),
    ]
    assert items.item_names(rows).tolist() == [
        "a.png",
        "a.png#2",
        "n",
        "t@1.5,2,-3.25",
        "t@1.5,2,-3.25#2",
        "b.png",
    ]
    assert items.patients(rows).tolist() == ["p", "p", "t", "t", "t", ""]


def test_table2_of_the_real_annotations(real_data):
    found, _ = luna16.read_findings(real_data("luna16_csv") / "annotations.csv")
    rows = [
        items.Item("", uid, f.name, int(items.size_class(f.diameter_mm)))
        for uid, findings in found.items()
        for f in findings
    ]
    assert list(items.table2(rows).values()) == [0, 270, 232, 276, 234, 100, 55, 19]
