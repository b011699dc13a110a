"""Per-query results: written and read unchanged, matched by name, pooled."""

import numpy as np
import pytest

from inres.evaluation import runs


def run(names="abcd", *, seed=0, patients=None, labels=None, rankings=("two_stage", "chance")):
    names = np.array(list(names))
    rng = np.random.default_rng(seed)
    values = {
        ranking: {m: rng.random(len(names)) for m in ("average_precision", "ndcg")}
        for ranking in rankings
    }
    values[rankings[0]]["ndcg"][0] = np.nan
    order = np.array([ord(name[0]) for name in names])
    return runs.Run(
        names,
        np.array([f"s{i // 2}" for i in order]) if patients is None else np.array(patients),
        order.astype(np.int32) % 3 if labels is None else np.array(labels),
        values,
    )


def test_a_run_is_read_as_written(tmp_path):
    before = run(["ü.png", "b", "c"], patients=["x", "", "y"], labels=[0, 1, 7])
    runs.write(tmp_path, before)
    after = runs.read(tmp_path)
    for name in ("names", "patients", "labels"):
        assert getattr(after, name).tolist() == getattr(before, name).tolist()
    assert {k: list(v) for k, v in after.values.items()} == {
        k: list(v) for k, v in before.values.items()
    }
    np.testing.assert_array_equal(
        after.measure("two_stage", "ndcg"), before.measure("two_stage", "ndcg")
    )
    with pytest.raises(ValueError, match="no 'fc9' in this run"):
        after.measure("fc9", "ndcg")
    with pytest.raises(ValueError, match="no 'map' in this run"):
        after.measure("chance", "map")


def test_a_file_with_the_older_name_of_a_column_is_read(tmp_path):
    before = run()
    runs.write(tmp_path, before)
    with np.load(tmp_path / runs.FILE) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["scans"] = arrays.pop("patients")
    np.savez_compressed(tmp_path / runs.FILE, **arrays)
    assert runs.read(tmp_path).patients.tolist() == before.patients.tolist()


def test_a_missing_or_damaged_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"per_query\.npz: no such file"):
        runs.read(tmp_path)
    (tmp_path / runs.FILE).write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"per_query\.npz: damaged"):
        runs.read(tmp_path)


def test_runs_are_matched_by_name():
    first, second = run("abcd"), run("cadb", seed=1)
    found = runs.aligned({"first": first, "second": second})
    assert found["first"] is first
    assert found["second"].names.tolist() == list("abcd")
    values = second.measure("chance", "ndcg")
    assert found["second"].measure("chance", "ndcg").tolist() == values[[1, 3, 0, 2]].tolist()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (run("abce"), "1 are only in first: d"),
        (run("abcde"), r"first \(4 queries\) and second \(5\).*1 are only in second: e"),
        (run("abcd", labels=[1, 2, 0, 0]), "differ in labels of 1 queries, first d: 1 and 0"),
        (
            run("abcd", patients=["s48", "s9", "s49", "s50"]),
            "differ in patients of 1 queries, first b",
        ),
    ],
)
def test_different_queries_are_refused_naming_the_difference(other, message):
    with pytest.raises(ValueError, match=message):
        runs.aligned({"first": run("abcd"), "second": other})


def test_folds_are_pooled():
    first, second = run("ab"), run("cd", seed=1, rankings=("two_stage", "fc1"))
    found = runs.pool([first, second])
    assert found.names.tolist() == list("abcd")
    assert list(found.values) == ["two_stage"]
    assert found.measure("two_stage", "average_precision").tolist() == [
        *first.measure("two_stage", "average_precision"),
        *second.measure("two_stage", "average_precision"),
    ]
    with pytest.raises(ValueError, match="query b is present 2 times"):
        runs.pool([first, run("bc")])
    with pytest.raises(ValueError, match=r"labels is \(1,\) for 2 queries"):
        run("ab", labels=[1])
