"""Vectors of another program, judged through the real command line."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli import SMOKE, call, refused


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """120 items of two classes, no images; vectors that know the class, codes that do not."""
    root = tmp_path_factory.mktemp("judge")
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    lines = ["image,scan,nodule,label,diameter_mm,malignancy,split,own,own_sd"]
    for i, label in enumerate(labels):
        lines.append(
            f",s{i // 4},n{i},{label},{8.5 if label else 0},{4 if label else ''},"
            f"{'test' if i >= 80 else 'train'},{i % 3},0.5"
        )
    (root / "items.csv").write_text("\n".join(lines) + "\n")
    np.save(root / "vectors.npy", rng.normal(size=(120, 6)) + 5 * labels[:, None])
    np.save(root / "codes.npy", rng.integers(0, 2, (120, 8)))
    return root


QUICK = "--pdf=False"


def metrics(workdir):
    return json.loads((workdir / "evaluation" / "metrics.json").read_text(encoding="utf-8"))


def flags(data, workdir, **more):
    named = {"embeddings": "vectors.npy", "items": "items.csv", **more}
    return [f"--workdir={workdir}", *(f"--{k}={data / v}" for k, v in named.items())]


@pytest.mark.e2e
def test_vectors_are_judged_by_the_same_protocol(data, tmp_path):
    lines = (data / "items.csv").read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].replace(",s0,", ",s20,")  # a training item of a scan that is tested
    (data / "shared.csv").write_text("\n".join(lines) + "\n")
    arguments = [*flags(data, tmp_path, items="shared.csv", codes="codes.npy"), "--threshold=4"]
    error = refused("judge", *arguments)
    assert "shared.csv: scan s20 is on two sides" in error
    assert "that is --overlap=drop" in error
    done = call("judge", *arguments, "--overlap=drop")
    assert done.returncode == 0, done.stderr
    assert "note: 1 training or validation items are left out" in done.stdout
    assert "LSH on the vectors" in done.stdout
    found = metrics(tmp_path)
    assert set(found["rankings"]) == {
        *("two_stage", "hamming", "embedding", "itq_embedding", "lsh_embedding", "chance")
    }
    assert found["protocol"]["queries"] == 40
    assert found["protocol"]["gallery"] == 79
    assert found["protocol"]["bits"] == found["codes"]["itq_embedding"]["bits"] + 2 == 8
    rankings = {name: row["map_macro"] for name, row in found["rankings"].items()}
    assert rankings["embedding"] > 0.999
    assert rankings["itq_embedding"] > 0.99
    assert rankings["hamming"] < 0.7
    assert found["rankings"]["embedding"]["malignancy_agreement_at_10"] == 1.0
    assert found["classification"] is None
    # The only size and the only rating cannot differ; a spread over readers is no property.
    assert list(found["protocol"]["properties"]) == ["own"]
    assert {row["property"] for row in found["properties"]} == {"own"}
    assert "similarity over all properties" in done.stdout
    assert found["intervals"]["patients"] == 10
    few = "with only 10 patients, the intervals are too narrow"
    assert few in done.stdout
    assert few in (tmp_path / "report.html").read_text(encoding="utf-8")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "PCA+ITQ on the vectors" in page
    assert "1 training or validation items are left out" in page
    drawn = [{p.stem for p in tmp_path.rglob(f"figures/*.{kind}")} for kind in ("png", "pdf")]
    assert drawn[0] == drawn[1] != set()
    named = "--measure=average_precision,similarity,difference_own,ndcg_own"
    said = call("compare", tmp_path, f"{tmp_path}:chance", f"--out={tmp_path / 'c'}", named)
    assert said.returncode == 0, said.stderr
    assert f"{tmp_path} is ahead of {tmp_path}:chance" in said.stdout
    assert "No images were given" in page


def test_slices_without_a_name_are_told_apart():
    """Items without image or nodule, two of one scan, with a nodule of two slices."""
    from inres.data import items
    from inres.evaluation.settings import Settings
    from inres.pipeline import assess, judge

    names = ("", "", "n", "n", "m")
    table = [items.Item("", f"s{i // 2}", nodule, i % 2) for i, nodule in enumerate(names)]
    vectors = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    path = Path("items.csv")
    given = judge.Given(path, path, path, table, vectors, vectors > 0, None)
    side = judge._embedded(given, np.arange(5), judge.Settings())
    settings = Settings(classes=2, threshold=3, fine="embedding")
    side.labels[:] = 1
    found = assess.assess(
        side,
        side,
        settings,
        class_names=("no nodule", "nodule"),
        names=items.item_names(table),
        patients=side.scans,
    )
    assert len(set(found.nodule_run.names)) == len(found.nodule_run.names) == 4


@pytest.mark.e2e
def test_without_codes_or_a_split_column(data, tmp_path):
    rows = [
        row.rsplit(",", 1)[0]
        for row in (data / "items.csv").read_text(encoding="utf-8").splitlines()
    ]
    (data / "bare.csv").write_text("\n".join(rows) + "\n")
    done = call(
        "judge", *flags(data, tmp_path, items="bare.csv"), "--split=patient", "--bits=4", QUICK
    )
    assert done.returncode == 0, done.stderr
    found = metrics(tmp_path)
    assert found["protocol"]["bits"] == 4
    assert found["rankings"]["hamming"] == found["rankings"]["itq_embedding"]
    assert found["protocol"]["excluded_pairs"] == 0  # scans are whole: none is on both sides


@pytest.mark.e2e
def test_judging_is_a_stage_of_a_workdir_of_its_own(data, tmp_path):
    """The same again is skipped, something else refused, and nothing of it stays when redone."""
    rows = (data / "items.csv").read_text(encoding="utf-8").splitlines()
    cells = [row.split(",") for row in rows[1:]]
    twins = [[c[0], c[1], f"n{i // 4}.{i % 2}", *c[3:]] for i, c in enumerate(cells)]
    nodules = "\n".join([rows[0], *map(",".join, twins)])
    (data / "nodules.csv").write_text(nodules + "\n")
    old = tmp_path / "evaluation" / "nodules"
    first = [*flags(data, tmp_path, items="nodules.csv", codes="codes.npy"), QUICK]
    done = call("judge", *first)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.rglob("*.png"))
    assert not list(tmp_path.rglob("*.pdf"))
    assert (old / "per_query.npz").is_file()
    before = metrics(tmp_path)
    again = call("judge", *first)
    assert "evaluation: done already, skipped" in again.stdout, again.stderr
    error = refused("judge", *flags(data, tmp_path, codes="codes.npy"), "--threshold=4")
    assert "items was 'sha256 " in error
    assert "threshold was 3, now 4" in error
    assert "pdf was False, now True" in error
    assert "--redo=evaluation" in error
    assert metrics(tmp_path) == before
    assert "--redo=train: must be evaluation" in refused("judge", *first, "--redo=train")
    done = call("judge", *flags(data, tmp_path, codes="codes.npy"), "--redo=evaluation", QUICK)
    assert done.returncode == 0, done.stderr
    assert metrics(tmp_path) != before
    assert not old.exists()
    assert "another config: name was" in refused("reproduce", SMOKE, f"--workdir={tmp_path}")


@pytest.mark.e2e
@pytest.mark.parametrize("mark", ["config.json", "prepare/stage.json", "evaluation/stage.json"])
def test_a_workdir_of_another_run_is_refused(data, tmp_path, mark):
    for path in (tmp_path / mark, tmp_path / "evaluation" / "metrics.json"):
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"inputs": {"pdf": true}}')
    error = refused("judge", *flags(data, tmp_path), "--redo=evaluation")
    assert f"{tmp_path} holds another run ({mark.split('/')[0]})" in error
    assert metrics(tmp_path) == {"inputs": {"pdf": True}}
    assert not (tmp_path / "evaluation" / "judged.json").exists()


def test_what_is_judged_is_known_by_content(data, tmp_path):
    from inres.config import Split
    from inres.pipeline import judge

    named = ("vectors.npy", "items.csv")

    def inputs(root):
        given = judge.read_given(*(root / file for file in named), codes=None, size_px=64)
        return judge.stage_inputs(given, Split(kind="column"), judge.Settings())

    before = inputs(data)
    for file in named:
        (tmp_path / file).write_bytes((data / file).read_bytes())
    assert inputs(tmp_path) == before
    np.save(tmp_path / "vectors.npy", np.zeros((120, 6)))
    assert {n for n, v in inputs(tmp_path).items() if v != before[n]} == {"embeddings"}


@pytest.mark.e2e
def test_a_query_of_which_nothing_can_be_found_ends_in_one_line(data, tmp_path):
    lines = ["image,scan,nodule,label,diameter_mm,split"]
    lines += [f",s{i},n{i},{int(i >= 80)},,{'test' if i >= 80 else 'train'}" for i in range(120)]
    (data / "apart.csv").write_text("\n".join(lines) + "\n")
    error = refused("judge", *flags(data, tmp_path / "w", items="apart.csv"))
    assert "test items have the classes [1], training and validation items [0]" in error
    assert not (tmp_path / "w").exists()


@pytest.mark.e2e
def test_a_mismatch_ends_in_one_line_before_work(data, tmp_path):
    np.save(tmp_path / "short.npy", np.zeros((7, 3)))
    short = f"--embeddings={tmp_path / 'short.npy'}"
    error = refused("judge", *flags(data, tmp_path / "w"), short)
    assert "short.npy: 7 rows of 3 numbers, but" in error
    assert "has 120 items" in error
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(4), r"float64 \(4,\), must be one array of numbers"),
        (np.array([["a"]] * 4), "must be one array of numbers"),
        (np.array([[1.0], [np.nan], [1.0], [1.0]]), "row 1 holds NaN"),
        (np.zeros((4, 0)), "4 rows of 0 numbers"),
    ],
)
def test_bad_vectors_are_refused_by_name(tmp_path, array, message):
    from inres.pipeline import judge

    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=f"x.npy: .*{message}"):
        judge.read_vectors(tmp_path / "x.npy", 4, Path("items.csv"))


def test_bad_codes_and_files_are_refused_by_name(tmp_path):
    from inres.pipeline import judge

    np.save(tmp_path / "signs.npy", np.array([[-1, 1]]))
    with pytest.raises(ValueError, match=r"signs.npy: holds values other than 0 and 1.*codes > 0"):
        judge.read_codes(tmp_path / "signs.npy", 1, Path("items.csv"))
    (tmp_path / "text.npy").write_text("1,2,3")
    with pytest.raises(ValueError, match=r"text.npy: not an .npy array"):
        judge.read_vectors(tmp_path / "text.npy", 1, Path("items.csv"))
    with pytest.raises(FileNotFoundError, match=r"none.npy: no such file"):
        judge.read_vectors(tmp_path / "none.npy", 1, Path("items.csv"))


@pytest.mark.e2e
@pytest.mark.parametrize("flag", ["--importance=owm=2", "--scale=owm=2"])
def test_a_property_that_is_no_column_is_refused(data, tmp_path, flag):
    error = refused("judge", *flags(data, tmp_path / "w"), flag)
    assert "'owm' is no property of these items; known are" in error
    assert "own" in error
