"""The command that compares finished runs."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from cli import call, refused

from inres import config as config_lib
from inres.evaluation import comparison, intervals, runs
from inres.studies import run_comparison


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """Two recipes with two seeds each that differ by 0.2, and a run on other queries."""
    root = tmp_path_factory.mktemp("runs")
    made = {}
    for name, bits, seed, shift, queries in (
        ("a0", 48, 0, 0.0, 40),
        ("a1", 48, 1, 0.0, 40),
        ("b0", 64, 0, 0.2, 40),
        ("b1", 64, 1, 0.2, 40),
        ("c0", 64, 2, 0.2, 39),
    ):
        made[name] = root / name
        config = config_lib.Config(seed=seed, hash=config_lib.Hash(bits=bits))
        made[name].mkdir()
        (made[name] / "config.json").write_text(json.dumps(dataclasses.asdict(config)))
        number = np.arange(queries)
        noise = np.random.default_rng(seed + bits).normal(0, 0.05, queries)
        score = 0.4 + shift + np.random.default_rng(7).normal(0, 0.2, 40)[:queries] + noise
        values = {
            "two_stage": {"average_precision": score},
            "pixels": {"average_precision": score - 0.3},
        }
        names, scans = (np.char.add(t, n.astype(str)) for t, n in (("q", number), ("s", number)))
        run = runs.Run(names, scans, number % 4, values)
        runs.write(made[name] / "evaluation", run)
    return made


def test_seeds_are_grouped_and_the_better_recipe_is_named(workdirs, tmp_path):
    four = [workdirs[name] for name in ("a0", "b0", "a1", "b1")]
    done = call("compare", *four, f"--out={tmp_path}")
    assert done.returncode == 0, done.stderr
    b, a = (f"{workdirs[n]} (2 seeds)" for n in ("b0", "a0"))
    assert f"{b} is ahead of {a} by 0." in done.stdout
    assert "more than chance" in done.stdout
    found = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    scores = found["scores"]["average_precision"]
    assert list(scores) == [a, b]
    stored = [runs.read(workdirs[n] / "evaluation") for n in ("b0", "b1")]
    for seed, run in zip(scores[b]["by_seed"], stored, strict=True):
        values = run.measure("two_stage", "average_precision")
        assert seed == pytest.approx(np.mean([values[i::4].mean() for i in range(4)]))
    with open(tmp_path / "differences.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["ahead"], row["verdict"]) == (b, "more than chance")
    assert float(row["low"]) < 0.2 < float(row["high"])
    assert float(row["difference"]) == pytest.approx(0.2, abs=0.03)
    assert r"\begin{tabular}" in (tmp_path / "scores.tex").read_text(encoding="utf-8")


def test_rankings_of_one_run_and_groups_by_hand(workdirs, tmp_path):
    a, b = workdirs["a0"], workdirs["b0"]
    done = call(
        *("compare", f"{a}:pixels", f"--group=mixed={a},{b}", f"--out={tmp_path}", "--mean=micro")
    )
    assert done.returncode == 0, done.stderr
    assert f"mixed is ahead of {a}:pixels by 0." in done.stdout
    found = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert found["differences"][0]["value"] == pytest.approx(0.4, abs=0.03)


def test_seeds_are_grouped_where_other_fields_change_no_score(workdirs, tmp_path):
    changed = config_lib.Config(
        seed=5,
        name="mine",
        pdf=False,
        data=config_lib.Data(workers=2),
    )
    other = dataclasses.replace(changed, search=config_lib.Search(threshold=5))
    default = run_comparison.scored_config(config_lib.Config())
    assert run_comparison.scored_config(changed) == default
    assert run_comparison.scored_config(other) != default
    done = tmp_path / "done"
    runs.write(done / "evaluation", runs.read(workdirs["a0"] / "evaluation"))
    (done / "config.json").write_text(json.dumps(dataclasses.asdict(changed)))
    entries = [
        run_comparison.Entry(str(root), root, "two_stage") for root in (workdirs["a0"], done)
    ]
    (recipe,) = run_comparison.group_seeds(entries, unit="items")
    assert recipe.name == f"{workdirs['a0']} (2 seeds)"


def test_a_measure_that_is_nowhere_known_ends_in_one_line(workdirs, tmp_path):
    roots = [tmp_path / name for name in ("a", "b")]
    for root, like in zip(roots, ("a0", "b0"), strict=True):
        run = runs.read(workdirs[like] / "evaluation")
        run.values["two_stage"]["diameter_error_mm"] = np.full(len(run), np.nan)
        runs.write(root / "evaluation", run)
        (root / "config.json").write_text((workdirs[like] / "config.json").read_text())
    error = refused("compare", *roots, "--measure=diameter_error_mm", f"--out={tmp_path / 'out'}")
    assert f"{roots[0]}: 'diameter_error_mm' is undefined for every query" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("patients", "rare", "note"),
    [
        (40, 1, "with only 1 patient in a class, the intervals are too narrow"),
        (40, 20, ""),
        (12, 6, "with only 12 patients, the intervals are too narrow"),
    ],
)
def test_few_patients_of_a_class_are_told(patients, rare, note):
    number = np.arange(patients)
    labels, names = (number >= patients - rare).astype(int), number.astype(str)
    made = {n: {"average_precision": np.where(labels, 0.1, s)} for n, s in (("a", 0.9), ("b", 0.8))}
    run = runs.Run(names, names, labels, made)
    recipes = [comparison.Recipe(name, [run], name) for name in made]
    macro = comparison.compare(recipes, ["average_precision"], resamples=200)
    said = run_comparison.in_words(macro, mean="macro").splitlines()
    assert [line for line in said if "note" in line] == ([f"  note: {note}"] if note else [])
    micro = comparison.compare(recipes, ["average_precision"], macro=False, resamples=200)
    assert ("note" in run_comparison.in_words(micro, mean="micro")) == (patients < 20)


def test_an_error_s_gap_and_interval_have_one_sign():
    gap = intervals.Difference(-0.4, -0.5, -0.3, 0.95, 9, 9, 9, 0.01, True)
    said = run_comparison.sentence(comparison.Pair("error_mm", "a", "b", gap, 0.01, True))
    assert "a is ahead of b by 0.400 [0.300, 0.500]" in said


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a0", "c0"), "1 are only in"),
        (("a0",), "give two or more"),
        (("a0", "a0"), "is given 2 times; give each once"),
        (("a0", "missing"), "holds no finished run"),
    ],
)
def test_what_cannot_be_compared_ends_in_one_line(workdirs, tmp_path, names, message):
    given = (workdirs.get(name, tmp_path / name) for name in names)
    assert message in refused("compare", *given, f"--out={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()
