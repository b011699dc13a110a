"""What items are labelled by."""

import dataclasses

import numpy as np
import pytest

from inres.config import ConfigError
from inres.data import labels
from inres.data.items import Item, size_class
from inres.sources import Finding, Scan, Scans, SourceError
from inres.vocabulary import CLASS_NAMES


def item(**values):
    return Item(**{"image": "", "scan": "s", **values})


def is_normal(one):
    return one.diameter_mm == 0


def by(column, *items):
    return labels.label_items(items, column, normal=is_normal)


def test_sizes_are_the_papers_classes():
    sizes = (0.0, 4.0, 7.9, 30.0)
    found = by("size", *(item(diameter_mm=mm) for mm in sizes))
    assert (
        [one.label for one in found.items] == size_class(np.array(sizes)).tolist() == [0, 1, 3, 7]
    )
    assert found.names == CLASS_NAMES


def test_ratings_are_rounded_half_up_and_counted_from_1():
    """Class 0 is no nodule even if there is none, as everywhere."""
    ratings = (1.0, 2.5, 2.49, 3.0, 5.0)
    found = by("texture", *(item(properties={"texture": value}) for value in ratings))
    assert [one.label for one in found.items] == [1, 3, 2, 3, 4]
    assert found.names == ("no nodule", "texture 1", "texture 2", "texture 3", "texture 5")
    assert found.kept.all()
    assert not found.messages


def test_texts_are_classes_in_alphabetical_order():
    kinds = ("solid", "ground glass", "solid", "kalzifiziert")
    found = by("kind", item(diameter_mm=0.0), *(item(texts={"kind": kind}) for kind in kinds))
    assert [one.label for one in found.items] == [0, 3, 1, 3, 2]
    assert found.names == ("no nodule", "ground glass", "kalzifiziert", "solid")


def test_fields_of_items_label_too():
    patients = by("patient", item(patient="q"), item(patient="p"))
    assert [one.label for one in patients.items] == [2, 1]
    rated = by("malignancy", item(malignancy=4.5), item(malignancy=2.0))
    assert rated.names == ("no nodule", "malignancy 2", "malignancy 5")
    # A column of a source that has the name of another field.
    named = by("label", item(texts={"label_": "b"}), item(texts={"label_": "a"}))
    assert [one.label for one in named.items] == [2, 1]


def test_items_of_unknown_label_are_left_out_and_counted():
    found = by("texture", item(), item(properties={"texture": 2.0}), item(diameter_mm=0.0))
    assert [one.label for one in found.items] == [1, 0]
    assert found.kept.tolist() == [False, True, True]
    assert found.messages == (
        "1 of 3 items left out: texture, by which they are labelled, is unknown",
    )


def test_auto_leaves_labels_as_they_are():
    given = (item(label=2, diameter_mm=5.5), item(label=4, diameter_mm=9.0))
    found = by("auto", *given)
    assert repr(found.items) == repr(given)
    assert found.names == CLASS_NAMES
    assert by("auto", item(), item()).names == ()


def test_a_column_that_cannot_label_is_refused():
    with pytest.raises(
        ConfigError, match="no item has a value of 'textur'; columns are texture, k"
    ):
        by("textur", item(properties={"texture": 1.0}, texts={"kind": "a"}))
    with pytest.raises(ConfigError, match="'note' has 101 different values; must have at most 100"):
        by("note", *(item(texts={"note": f"n{number}"}) for number in range(101)))


def finding(name, diameter_mm=np.nan, **columns):
    return Finding(name, (0.0, 0.0, 0.0), diameter_mm, columns)


def described(tmp_path, *scans):
    made = [
        Scan(f"s{n}", tmp_path, **{"spread": False, **values}) for n, values in enumerate(scans)
    ]
    return Scans(tuple(made))


def test_findings_of_unknown_label_are_only_avoided(tmp_path):
    first, second = finding("a", 9.0), finding("b")
    found = labels.with_labels(described(tmp_path, {"nodules": (first, second)}), "auto")
    (scan,) = found.scans
    assert (scan.nodules, scan.excluded) == ((first,), (second,))
    assert found.messages == ("1 findings left out of the items: their diameter_mm is unknown",)
    rated = {"nodules": (finding("a", kind="solid"), finding("b", kind=" "))}
    (scan,) = labels.with_labels(described(tmp_path, rated), "kind").scans
    assert [one.name for one in scan.nodules] == ["a"]


def test_a_scans_label_is_that_of_its_findings_and_places(tmp_path):
    scans = described(
        tmp_path,
        {"columns": {"cancer": 1.0}, "spread": True},
        {"columns": {"cancer": np.nan}, "spread": True},
        {"columns": {"cancer": 0.0}, "nodules": (finding("a"),)},
    )
    found = labels.with_labels(scans, "cancer")
    assert [scan.uid for scan in found.scans] == ["s0", "s2"]
    assert found.scans[1].nodules
    assert found.messages == ("1 of 3 scans left out: their cancer is unknown",)


def test_scans_without_any_label_are_refused(tmp_path):
    scans = described(tmp_path, {"columns": {"cancer": 1.0}, "spread": True})
    with pytest.raises(SourceError, match=r"items\.label = 'auto': diameter_mm is unknown.*cancer"):
        labels.with_labels(scans, "auto")
    normal = dataclasses.replace(scans.scans[0], spread=False)
    assert labels.with_labels(Scans((normal,)), "auto").scans == (normal,)
