"""The grid, its runs and commands, and the table of comparisons."""

import dataclasses
import shlex
from pathlib import Path

import jax
import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags

from experiments import configs
from experiments.configs import ablate_input
from inres import config as lib
from inres import vocabulary
from inres.data import normals
from inres.evaluation import comparison, metrics, runs
from inres.learning import recipe, sight
from inres.studies import ablation, ablation_table
from inres.studies import grid as grid_lib

ROOT = Path(__file__).resolve().parents[2]


def grid(*variants, **fields):
    fields = {"measures": ("average_precision",)} | fields
    return ablation.Ablation(base=lib.Config(), variants=variants, **fields)


def scores(shift, *, seed=0, queries=60):
    common = np.random.default_rng(99).random(queries) * 0.5
    own = np.random.default_rng(seed).normal(0, 0.02, queries)
    values = {"average_precision": common + shift + own}
    names, scans = (
        np.array([f"{t}{i // n}" for i in range(queries)]) for t, n in (("q", 1), ("s", 2))
    )
    lower = {"average_precision": values["average_precision"] - 0.2}
    return runs.Run(names, scans, np.arange(queries) % 3, {"two_stage": values, "hamming": lower})


@pytest.fixture
def parsed(monkeypatch):
    """Flags parsed from `--config` and other arguments, as on a command line."""

    def parse(*arguments):
        monkeypatch.setattr("sys.argv", ["", *arguments])  # config_flags reads it
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", flag_values=values)
        flags.DEFINE_string("workdir", "", "", flag_values=values)
        values(["", *arguments])
        return values

    return parse


def test_a_grid_is_a_product_and_its_runs_have_each_seed():
    variants = ablation.product(hash__bits=(12, 48), loss__name=("nll", "csq"))
    assert variants[1] == {"hash.bits": 12, "loss.name": "csq"}
    made = ablation.runs(ablation.checked(grid(*variants, seeds=(0, 7))))
    assert len({one.name for one in made}) == len(made) == 8
    one = made[5]
    assert one.name == "hash.bits=12_loss.name=csq-seed7"
    assert (one.config.hash.bits, one.config.loss.name, one.config.seed) == (12, "csq", 7)
    changed = dataclasses.replace(lib.Config(), seed=7, hash=lib.Hash(12), loss=lib.Loss("csq"))
    assert one.config == changed


@pytest.mark.parametrize(
    ("variants", "fields", "message"),
    [
        (({}, {"hash.bit": 3}), {}, "'hash.bit' is not a field"),
        (({}, {"hash.bits": "64"}), {}, r"hash.bits = '64': must be a int"),
        (({}, {"hash.bits": 0}), {}, r"config\.hash\.bits = 0"),
        (({}, {}), {}, "'base' occurs twice"),
        (({},), {}, "two or more"),
        (({"ranking": "fc1"}, {}), {}, "the first variant, the base"),
        (({}, {"hash.bits": 12}), {"seeds": (1, 1)}, r"config\.seeds"),
        (
            ({}, {"ranking": "sofmax"}),
            {},
            r"config\.variants: 'sofmax' is not a ranking; .* softmax",
        ),
        (
            ({}, {"hash.bits": 12}),
            {"rankings": ("two-stage",)},
            r"'two-stage' is not a ranking; .*",
        ),
        (
            ({}, {"hash.bits": 12}),
            {"measures": ("avrage",)},
            r"config\.measures: unknown metric 'avrage'",
        ),
        (({}, {"seed": 7}), {}, r"seeds are varied by config\.seeds"),
        (({}, {"hash.bits": 48}), {}, "'hash.bits=48' does not differ from 'base'"),
        (({}, {"pdf": False}), {}, "'pdf=False' does not differ from 'base'"),
        (({}, {"loss.settings.csq.quantization": 0.1}), {}, "does not differ from 'base'"),
        (({}, {"data.root": "a b"}, {"data.root": "a/b"}), {}, "two runs would share the folder"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(variants, fields, message):
    with pytest.raises(lib.ConfigError, match=message):
        ablation.checked(grid(*variants, **fields))


def test_the_command_of_a_run_gives_its_config(parsed):
    pristine = configs.load("folder")
    changed = ablation.overridden(
        pristine,
        {
            "data.root": "a folder/of 'mine'",
            "split.test_subsets": (3, 4),
            "items.segmented": False,
            "train.learning_rate": 1,
            "seed": 5,
        },
    )
    text = ablation.command(changed, pristine, base_name="folder", workdir="w 1")
    program, module, name, config, *rest = shlex.split(text)
    assert (program, module, name) == ("python", "-m", "experiments.reproduce")
    key, path = config.split("=")
    values = parsed(f"{key}={ROOT / path}", *rest)
    assert lib.checked(values.config) == changed
    assert values.workdir == "w 1"


def test_the_table_compares_finished_variants_with_the_base():
    variants = ({}, {"hash.bits": 64}, {"loss.name": "csq"}, {"ranking": "hamming"})
    plan = grid(*variants, seeds=(0, 1))
    found = {
        ablation.run_name(variant, seed): scores(shift, seed=seed + 10 * shift)
        for variant, shift in ((variants[0], 0), (variants[1], 1), (variants[2], 0))
        for seed in (0, 1)
    }
    found = {k: v for k, v in found.items() if k != ablation.run_name(variants[2], 1)}
    rows = ablation_table.table(plan, found)
    assert [(row["variant"], row["ranking"]) for row in rows] == [
        ("base", "two_stage"),
        ("hash.bits=64", "two_stage"),
        ("ranking=hamming", "hamming"),
        ("base", "hamming"),
        ("hash.bits=64", "hamming"),
    ]
    base, better, coarse = rows[:3]
    assert "difference" not in base
    each = [found[f"base-seed{s}"].values["two_stage"]["average_precision"] for s in (0, 1)]
    labels = found["base-seed0"].labels
    assert base["value"] == pytest.approx(np.mean([metrics.macro(v, labels) for v in each]))
    assert better["difference"] == pytest.approx(better["value"] - base["value"])
    assert better["difference_low"] < better["difference"] < better["difference_high"]
    assert coarse["difference"] == pytest.approx(-0.2)
    assert coarse["difference_low"] <= -0.2 <= coarse["difference_high"] + 1e-12
    assert better["p_holm"] == min(1.0, 2 * better["p"])
    with pytest.raises(ValueError, match="must be finished"):
        ablation_table.table(plan, {k: v for k, v in found.items() if "seed0" in k})


def test_each_known_measure_has_rows():
    plan = grid(
        {},
        {"seed": 1},
        seeds=(0,),
        measures=("average_precision", "diameter_error_mm", "malignancy_error"),
    )
    found = {}
    for variant, shift in zip(plan.variants, (0.0, 0.1), strict=True):
        run = scores(shift)
        for values in run.values.values():
            values["diameter_error_mm"] = 5 - 10 * values["average_precision"]
            values["malignancy_error"] = np.full(len(run), np.nan)
        found[ablation.run_name(variant, 0)] = run
    rows = ablation_table.table(plan, found)
    kinds = [(row["measure"], row["ranking"], row["variant"]) for row in rows]
    assert kinds == [
        (measure, ranking, variant)
        for measure in ("average_precision", "diameter_error_mm")
        for ranking in ("two_stage", "hamming")
        for variant in ("base", "seed=1")
    ]
    assert [rows[1]["difference"], rows[5]["difference"]] == pytest.approx([0.1, -1.0])


def test_a_measure_without_common_queries_loses_only_its_own_rows():
    plan = grid(
        {},
        {"seed": 1},
        {"seed": 2},
        seeds=(0,),
        measures=("average_precision", "diameter_error_mm"),
    )
    found = {}
    for part, variant in enumerate(plan.variants):
        run = scores(0.1 * part)
        for values in run.values.values():
            values["diameter_error_mm"] = np.where(np.arange(len(run)) % 2 == part % 2, 1.0, np.nan)
        found[ablation.run_name(variant, 0)] = run
    rows = ablation_table.table(plan, found)
    compared = {(row["measure"], row["variant"]) for row in rows}
    assert compared == {
        *(("average_precision", v) for v in ("base", "seed=1", "seed=2")),
        *(("diameter_error_mm", v) for v in ("base", "seed=2")),
    }
    assert ablation_table.lacking(plan, found) == [
        "seed=1 and base have no query in common with a known 'diameter_error_mm'; the row of "
        "seed=1 is left out"
    ]


def test_a_variant_without_a_ranking_has_no_row_for_it():
    variants = ({}, {"hash.code": "latent"}, {"hash.bits": 64}, {"ranking": "alone"})
    plan = grid(*variants, seeds=(0,), rankings=("two_stage", "latent", "fc1"))
    found = {ablation.run_name(v, 0): scores(0.1 * i) for i, v in enumerate(variants[:3])}
    for name in ("base-seed0", "hash.bits=64-seed0"):
        found[name].values["latent"] = found[name].values["hamming"]
    rows = ablation_table.table(plan, found)
    assert [(row["ranking"], row["variant"]) for row in rows] == [
        ("two_stage", "base"),
        ("two_stage", "hash.code=latent"),
        ("two_stage", "hash.bits=64"),
        ("latent", "base"),
        ("latent", "hash.bits=64"),
    ]
    assert ablation_table.lacking(plan, found) == [
        "ranking=alone has no ranking 'alone'; its row is left out",
        "hash.code=latent has no ranking 'latent'; its row is left out",
        "base has no ranking 'fc1'; nothing is compared by it",
    ]
    with pytest.raises(ValueError, match=r"config\.rankings = \('fc1',\).*none is known"):
        ablation_table.table(dataclasses.replace(plan, rankings=("fc1",)), found)


def test_with_a_base_the_others_are_not_compared_with_each_other():
    recipes = [comparison.Recipe(n, [scores(s)], "hamming") for s, n in enumerate("abc")]
    found = comparison.compare(recipes, ["average_precision"], base="b", resamples=200)
    assert [(pair.ahead, pair.behind) for pair in found.pairs] == [("b", "a"), ("c", "b")]


def test_the_plot_is_over_the_swept_field_or_by_variant():
    bits = ablation.product(hash__bits=(48, 12, 128))
    found = {ablation.run_name(v, 0): scores(v["hash.bits"] / 400) for v in bits}
    plan = grid(*bits, seeds=(0,))
    drawn = ablation_table.figure(plan, ablation_table.table(plan, found), title="t")
    (axes,) = drawn.axes
    assert axes.get_xlabel() == "hash.bits"
    assert axes.containers[0].lines[0].get_xdata().tolist() == [12, 48, 128]
    mixed = ({}, {"hash.bits": 64}, {"model.name": "alexnet"})
    plan = grid(*mixed, seeds=(0,))
    found = {ablation.run_name(v, 0): scores(0.1 * i) for i, v in enumerate(mixed)}
    (axes,) = ablation_table.figure(plan, ablation_table.table(plan, found), title="t").axes
    assert [t.get_text() for t in axes.get_yticklabels()] == [
        "base",
        "hash.bits=64",
        "model.name=alexnet",
    ]


@pytest.mark.parametrize("base", ["phantom", "folder"])
def test_the_inputs_that_are_compared_have_networks_of_one_size(base):
    """One slice, 2.5-D, slices one by one, three and nine planes, and three dimensions."""
    made = ablate_input.get_config(base)
    counts, planes = [], []
    for variant in made.variants:
        config = ablation.overridden(made.base, variant)
        size, half = config.items.input_px, config.items.neighbours
        cube = config.items.view == "cube"
        channels = 2 * size if cube else 2 * (2 * half + 1) if half else 1
        model = recipe.build_model(config, classes=8)
        shown, seen = jax.eval_shape(
            lambda x, config=config: sight.split(x, config.model.planes),
            jax.ShapeDtypeStruct((1, size, size, channels), "float32"),
        )
        planes.append(1 if seen is None else seen.shape[1])
        shapes = jax.eval_shape(
            lambda x, s, model=model: model.init(jax.random.key(0), sight.flatten(x, s), s),
            shown,
            seen,
        )
        counts.append(sum(x.size for x in jax.tree.leaves(shapes["params"])))
    assert planes == [1, 1, 7, 3, 9, 1]
    assert all(380_000 < count < 430_000 for count in counts)


@pytest.mark.parametrize(
    ("kind", "variant", "own", "inside"),
    [
        ("phantom", {"items.neighbours": 3}, 0.0, 6.0),
        ("luna16", {"items.view": "cube", "items.cube_mm": 20.0}, 0.0, 10.0),
        ("luna16", {"items.neighbours": 3}, 9.0, 9.0),
        ("luna16", {"hash.bits": 12}, 0.0, 0.0),  # all show the same
        ("folder", {"items.neighbours": 3}, 0.0, 0.0),  # has its own normal images
    ],
)
def test_normal_slices_are_those_of_the_variant_that_shows_most(kind, variant, own, inside):
    base = lib.Config(data=lib.Data(kind=kind), items=lib.Items(normal_inside_mm=own))
    made = ablation.checked(dataclasses.replace(grid({}, variant), base=base))
    assert {one.config.items.normal_inside_mm for one in ablation.runs(made)} == {inside}


def test_a_grid_ends_with_the_first_run_that_cannot_be_compared(tmp_path, monkeypatch):
    ran = []

    def run_one(config, root, *, command):
        (root / "evaluation").mkdir(parents=True)
        runs.write(root / "evaluation", scores(0.0, queries=60 + 2 * (config.hash.bits == 32)))
        ran.append(config.hash.bits)

    monkeypatch.setattr(grid_lib, "run_one", run_one)
    of_bits = grid({}, {"hash.bits": 32}, {"hash.bits": 64}, seeds=(0,))
    with pytest.raises(ValueError, match=r"base-seed0 \(60 queries\) and hash\.bits=32"):
        grid_lib.run_grid(of_bits, tmp_path, pristine=lib.Config(), command="")
    assert ran == [48, 32]


def test_every_shipped_grid_can_be_run(parsed):
    paths = sorted((ROOT / "experiments" / "configs").glob("ablate_*.py"))
    assert len(paths) >= 5
    for path in paths:
        values = parsed(f"--config={path}:luna16", "--config.base.data.root=X")
        made = ablation.checked(values.config)
        assert {one.config.data.root for one in ablation.runs(made)} == {"X"}
        assert set(made.rankings) <= set(vocabulary.ranking_names())
        # Scans give the same normal slices to all, so that they can be compared.
        assert len({normals.inner_planes(one.config.items) for one in ablation.runs(made)}) == 1
    with pytest.raises(lib.ConfigError, match=r"nothing\.py"):
        configs.load("nothing")
    with pytest.raises(lib.ConfigError, match=r"bench_store\.py"):
        configs.load("bench_store")
