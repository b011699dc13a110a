"""Size classes and names of items."""

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
    assert names([0, 2, 1], unknown) == ("no nodule", "1", "2")
    assert names([0, 2, 1], [np.nan, 12.0, 3.0]) == ("no nodule", "1", "2")  # not Table 2's
    assert names([0, 2, 1], [4.0, 12.0, np.nan]) == ("0", "1", "2")


def test_class_zero_means_no_nodule_only_where_its_name_says_so():
    assert items.no_nodule_class(items.CLASS_NAMES) == 0
    assert items.no_nodule_class(("no nodule", "nodule")) == 0
    assert items.no_nodule_class(("0", "1", "2")) == -1


@given(st.floats(0.001, 200.0))
def test_size_class_counts_the_edges_below(diameter):
    assert items.size_class(diameter) == 1 + sum(edge <= diameter for edge in (5, 6, 8, 13, 18, 23))


def test_no_nodule_is_class_zero_and_nonsense_is_refused():
    assert items.size_class(np.array([0.0, 4.99, 5.0, 23.0])).tolist() == [0, 1, 2, 7]
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            items.size_class(bad)


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
