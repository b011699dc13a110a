"""The sequence of an evaluation: nodules of mixed classes are reported, names and patients kept."""

import dataclasses

import numpy as np
import pytest

from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings
from inres.pipeline.assess import assess
from inres.report import results

SETTINGS = Settings(classes=2, threshold=3)


def side(prefix, seed):
    """Twelve slices, two of each nodule, three nodules of each class."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], 6).astype(np.int32)
    return Embedded(
        labels=labels,
        scans=np.array([f"{prefix}{i // 4}" for i in range(12)]),
        diameters_mm=np.where(labels > 0, 5.0 + rng.random(12), 0.0),
        bits=rng.random((12, 6)) < 0.5,
        features={"fc1": rng.normal(size=(12, 3)).astype(np.float32)},
        names=np.array([f"{prefix}-{i}" for i in range(12)]),
        nodules=np.array([f"n{i // 2}" for i in range(12)]),
    )


def assessed(queries, gallery):
    return assess(
        queries,
        gallery,
        SETTINGS,
        class_names=("no nodule", "nodule"),
        names=queries.names,
        patients=queries.scans,
    )


def test_a_nodule_of_two_classes_is_reported_and_rules_out_the_search_for_nodules():
    queries, gallery = side("q", 0), side("g", 1)
    labels = queries.labels.copy()
    labels[6] = 0  # its nodule n3 also has slice 7, of class 1
    found = assessed(dataclasses.replace(queries, labels=labels), gallery)
    assert found.mixed_nodule == "q1/n3"
    assert found.nodule_run is None
    assert found.by_nodule == []
    assert "slices of q1/n3 differ in class" in results.in_words(found)


@pytest.mark.parametrize(
    ("largest", "labels", "told"),
    [
        ([1] * 12, None, True),
        ([1] * 11 + [0], None, False),
        ([1] * 12, [1] * 12, False),  # nothing else could be predicted
    ],
)
def test_a_classifier_that_tells_nothing_apart_is_reported(largest, labels, told):
    queries, gallery = side("q", 0), side("g", 1)
    if labels is not None:
        queries = dataclasses.replace(queries, labels=np.array(labels))
    logits = np.eye(2, dtype=np.float32)[largest]
    queries, gallery = (
        dataclasses.replace(one, features=one.features | {"fc3": logits})
        for one in (queries, gallery)
    )
    said = results.in_words(assessed(queries, gallery))
    assert ("FC3 predicts the class nodule for every query" in said) == told


def test_runs_hold_names_patients_and_all_scores():
    queries = side("q", 0)
    found = assessed(queries, side("g", 1))
    assert found.run.names.tolist() == queries.names.tolist()
    assert found.run.patients.tolist() == queries.scans.tolist()
    assert found.mixed_nodule == ""
    # Named by scan and nodule, in the order of those names; two slices of each.
    names = [
        f"{scan}/{nodule}" for scan, nodule in zip(queries.scans, queries.nodules, strict=True)
    ]
    assert found.nodule_run.names.tolist() == sorted(set(names))
    assert [row["ranking"] for row in found.by_nodule] == list(found.nodule_run.values)
    assert "class_diameter_error_mm" in found.run.values["two_stage"]
