"""The vocabulary: everything an evaluation produces has one row, and lists name only such rows."""

from pathlib import Path

import numpy as np
import pytest

from inres import vocabulary
from inres.evaluation import confidence, judging, metrics, nodules, relevance, within_class
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings
from inres.figures import rankings
from inres.pipeline import export
from inres.pipeline.assess import assess
from inres.report import cards, measures
from inres.report.run import Run
from inres.report.sections import baselines
from inres.studies import ablation, folds, leakage

BITS = 8


def side(seed, prefix, n=40):
    """Items with every feature, code and property that an evaluation knows; nodules of 2 slices."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.integers(0, 3, n // 2), 2).astype(np.int32)
    features = {
        name: (rng.normal(size=(n, 3)) + labels[:, None]).astype(np.float32)
        for name in (
            *("joined", "images", "fc1", "fc2", "fc3", "fc1_fc3"),
            *("embedding", "pixels", "hog"),
        )
    }
    codes = {
        name: rng.random((n, BITS)) < 0.5
        for name in (
            *(
                "images_code",
                "latent",
                "alone",
                "itq_fc1",
                "lsh_fc1",
                "itq_embedding",
                "lsh_embedding",
            ),
            *("itq_pixels", "lsh_pixels"),
        )
    }
    return Embedded(
        labels=labels,
        scans=np.array([f"{prefix}{i // 4}" for i in range(n)]),
        diameters_mm=np.where(labels > 0, rng.uniform(3, 30, n), 0.0),
        bits=rng.random((n, BITS)) < 0.5,
        features=features,
        names=np.array([f"{prefix}-{i}" for i in range(n)]),
        codes=codes,
        malignancy=np.where(labels > 0, rng.integers(1, 6, n), np.nan),
        nodules=np.array([f"n{i // 2}" for i in range(n)]),
        properties={name: np.repeat(rng.uniform(1, 5, n // 2), 2) for name in ("texture", "own")},
    )


def assessed():
    queries = side(0, "q")
    return assess(
        queries,
        side(1, "g"),
        Settings(classes=3, threshold=3),
        class_names=("0", "1", "2"),
        names=queries.names,
        patients=queries.scans,
    )


@pytest.fixture(scope="module")
def found():
    return assessed()


def test_every_ranking_is_in_the_vocabulary_and_every_row_is_produced(found):
    assert tuple(found.evaluation.rankings) == vocabulary.ranking_names()
    assert set(found.run.values) == set(vocabulary.ranking_names())
    assert set(found.nodule_run.values) == set(vocabulary.ranking_names())


def test_every_number_is_in_the_vocabulary_and_every_row_is_produced(found):
    keys = [mean.key.format(k=10) for _, mean in vocabulary.means()]
    for row in found.evaluation.rankings.values():
        assert list(row) == keys
    assert len(set(keys)) == len(keys)


def test_every_column_is_in_the_vocabulary_and_every_row_is_produced(found):
    graded = {one.column for n in ("texture", "own") for one in vocabulary.property_metrics(n)}
    graded |= {f"{vocabulary.CLASS_PREFIX}{column}" for column in graded}
    columns = {column for values in found.run.values.values() for column in values}
    assert columns == {metric.column for metric in vocabulary.metrics()} | graded
    assert {c for values in found.nodule_run.values.values() for c in values} == {
        *(metric.column for metric, _ in vocabulary.means()),
        *("class_similarity", *graded),
    }
    assert {vocabulary.metric(column).column for column in columns} == columns
    for row in found.within_class:
        assert within_class.metric_of(row["measure"]).title


def test_lists_elsewhere_name_only_rows_of_the_vocabulary():
    keys = {mean.key for _, mean in vocabulary.means()}
    assert set(confidence.MARGINS) <= keys
    assert {f"{key}_at_{{k}}" for key in relevance.MEANS} <= keys
    listed = {*baselines.HEADLINES, *cards.SCORES, *export._SCORES}
    assert listed <= {key.format(k=10) for key in keys}
    columns = {metric.column for metric in vocabulary.metrics()}
    grid = ablation.Ablation()
    for listed in (
        *(nodules.TABLE_COLUMNS, judging.HIT_SCORES, judging.TIE_SCORES, relevance.GAINS),
        *(relevance.MEANS, grid.measures, folds.MEASURES),
        [measure.column for measure in leakage.MEASURES],
    ):
        assert set(listed) <= columns
    for listed in (
        *(rankings.LINES, baselines.WITHIN_CLASS, cards.BASELINES),
        *(grid.rankings, [confidence.OURS]),
    ):
        assert set(listed) <= set(vocabulary.ranking_names())


def test_errors_are_better_if_lower():
    lower = {metric.column for metric in vocabulary.metrics() if metric.lower_is_better}
    assert lower == {m.column for m in vocabulary.metrics() if "error" in m.column}


def test_the_paper_s_numbers_agree_with_each_other():
    """The count-weighted mean of Table 3 over nodules is the precision of section 5."""
    nodules_only = vocabulary.SIZE_CLASSES[1:]
    assert sum(one.paper_items for one in nodules_only) == 1186
    mean = np.average(
        [one.paper_score for one in nodules_only], weights=[one.paper_items for one in nodules_only]
    )
    assert mean / 100 == pytest.approx(vocabulary.PAPER_SEARCH_PRECISION, abs=0.01)


def test_unknown_names_are_refused_with_what_is_known():
    with pytest.raises(ValueError, match="unknown ranking 'fc9'; known are two_stage, hamming"):
        vocabulary.ranking("fc9")
    for name in ("map", "difference_", "class_ndcg_", "gap_texture"):
        with pytest.raises(ValueError, match=f"unknown metric '{name}'; known are relevant"):
            vocabulary.metric(name)


def test_every_property_has_metrics():
    inside = vocabulary.metric("class_difference_diameter_mm")
    assert (inside.unit, inside.lower_is_better) == ("mm", True)
    assert inside.title == "difference in diameter within the class"
    assert vocabulary.metric("difference_own_column").lower_is_better
    assert not vocabulary.metric("ndcg_own_column").lower_is_better
    # A property never takes the place of another metric.
    assert vocabulary.metric("ndcg_mm") in vocabulary.METRICS


def test_a_new_metric_is_one_function_and_one_row(monkeypatch):
    """R-precision: the precision of the first R results, R being the query's relevant items."""
    monkeypatch.setitem(
        judging.HIT_SCORES,
        "precision_at_r",
        lambda hits, k: metrics.hits_at(hits, hits.total) / np.maximum(hits.total, 1),
    )
    mean = vocabulary.Mean("precision_at_r_macro", "macro R-precision", True, "over R ranks")
    row = vocabulary.Metric("precision_at_r", "R-precision", (mean,))
    monkeypatch.setattr(vocabulary, "METRICS", (*vocabulary.METRICS, row))
    found = assessed()
    for name, numbers in found.evaluation.rankings.items():
        values = found.run.measure(name, "precision_at_r")
        assert numbers["precision_at_r_macro"] == metrics.macro(values, found.run.labels)
        low, high = found.intervals["rankings"][name]["precision_at_r_macro"]
        assert low <= numbers["precision_at_r_macro"] <= high
    run = Run(Path("."), {"rankings": found.evaluation.rankings}, {}, [], {}, {})
    assert "macro R-precision" in [column.title for column in measures.columns(run, ["hog"])]
    grid = ablation.Ablation(variants=({}, {"hash.bits": 64}), measures=("precision_at_r",))
    assert ablation.checked(grid).measures == ("precision_at_r",)
