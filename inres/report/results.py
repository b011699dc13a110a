"""What an evaluation leaves on disk: metrics, curves, tables, figures and their provenance."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from inres import vocabulary
from inres.encoding.pca import principal
from inres.evaluation import nodules, property_tables, runs, within_class
from inres.evaluation.assessment import Assessment
from inres.evaluation.embedded import Embedded
from inres.figures import codes, items, rankings, similarity, style
from inres.report.evaluation_tables import evaluation_tables
from inres.report.galleries import PROVENANCE, Panel, Panels
from inres.system import files, tables

MAPPED = 3000
"""Largest number of items on a map; a tenth as many queries, which would hide them otherwise."""


def write_evaluation(
    assessment: Assessment,
    out: Path,
    *,
    dataset: Mapping[str, Sequence[int]],
    images: tuple[np.ndarray, np.ndarray] | None = None,
    segmentation: Mapping[str, float] | None = None,
    efficiency: Sequence[Mapping[str, Any]] | None = None,
    pdf: bool = True,
) -> Path:
    """Write metrics, curves, tables and figures of an evaluation into the folder `out`.

    Files: `metrics.json`, `curves.json`, `per_query.npz`, the tables `table2`, `table3`,
    `rankings`, `margins`, `codes`, `lookup`, `efficiency`, `within_class`, `properties`,
    `similarity` and, with a search for nodules, `by_nodule`, `properties_by_nodule` and
    `similarity_by_nodule` (each `.csv` and `.tex`), `nodules/per_query.npz`, `galleries.csv`
    (provenance of every image of the search panels) and `figures/*` (each `.png`, `.svg` and,
    with `pdf`, `.pdf`). `metrics.json` is written last, so that its presence means that the other
    files are complete.

    Args:
      assessment: from `inres.pipeline.assess.assess`.
      out: usually `<workdir>/evaluation`.
      dataset: items of each class by split, as `{"train": [n_0, n_1, ...]}`.
      images: of queries and gallery, uint8 [Q, S, S] and [N, S, S]; without them no panels are
        drawn.
      segmentation: `dice` and `iou` if a U-Net was trained.
      efficiency: cost of searching, a row for each threshold: `threshold`, `mean_pool`,
        `neighbours_kept`, `seconds_per_query`; None if it was not measured.
      pdf: also write figures as PDF.

    Returns:
      The path of `metrics.json`.

    Raises:
      ValueError: images or counts do not match the items or classes.
    """
    _check(assessment, dataset, images)
    shots: list[Panel] = []
    drawn = _plots(assessment, dataset, efficiency)
    if images is not None:
        queries, names = assessment.queries, assessment.class_names
        panels = Panels(assessment.evaluation, queries, assessment.gallery, *images, names)
        shots = [*panels.medians(), *panels.errors()]
        drawn |= {shot.stem: shot.figure for shot in shots}
        drawn["samples"] = items.sample_sheet(
            images[0], queries.labels, queries.diameters_mm, names
        )
    for stem, figure in drawn.items():
        style.save(figure, out / "figures" / stem, pdf=pdf)
    files.write_csv(out / "galleries.csv", PROVENANCE, [row for shot in shots for row in shot.rows])
    _write_tables(assessment, dataset, efficiency, out)
    runs.write(out, assessment.run)
    captions = {shot.stem: shot.caption for shot in shots}
    files.write_json(out / "curves.json", _curves(assessment, captions))
    metrics = _metrics(assessment, dataset, segmentation, efficiency)
    files.write_json(out / "metrics.json", metrics)
    return out / "metrics.json"


def _check(
    assessment: Assessment,
    dataset: Mapping[str, Sequence[int]],
    images: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    sides = (("queries", assessment.queries), ("gallery", assessment.gallery))
    for (name, side), shown in zip(sides, images or (), strict=False):
        if shown.dtype != np.uint8 or shown.ndim != 3 or len(shown) != len(side):
            raise ValueError(
                f"images of the {name} must be uint8 [{len(side)}, S, S], got {shown.dtype} "
                f"{shown.shape}"
            )
    count = len(assessment.class_names)
    for split, counts in dataset.items():
        if len(counts) != count:
            raise ValueError(f"dataset[{split!r}] has {len(counts)} counts for {count} names")


def _write_tables(
    assessment: Assessment,
    dataset: Mapping[str, Sequence[int]],
    efficiency: Sequence[Mapping[str, Any]] | None,
    out: Path,
) -> None:
    """Write all tables, and the search for nodules query by query."""
    for name, rows in evaluation_tables(assessment, dataset, efficiency).items():
        tables.write_table(out / name, {key: key for key in (rows[0] if rows else ())}, rows)
    _write_rows(out / "within_class", within_class.TABLE_COLUMNS, assessment.within_class)
    properties, similar = property_tables.PROPERTY_COLUMNS, property_tables.SIMILARITY_COLUMNS
    _write_rows(out / "properties", properties, assessment.properties)
    _write_rows(out / "similarity", similar, assessment.similarity)
    if assessment.nodule_run is not None:
        _write_rows(out / "properties_by_nodule", properties, assessment.nodule_properties)
        _write_rows(out / "similarity_by_nodule", similar, assessment.nodule_similarity)
        tables.write_table(out / "by_nodule", nodules.table_titles(), assessment.by_nodule)
        runs.write(out / nodules.FOLDER, assessment.nodule_run)


def _write_rows(stem: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a table whose columns have their names as titles."""
    tables.write_table(stem, {column: column for column in columns}, rows)


def _curves(assessment: Assessment, captions: Mapping[str, str]) -> dict[str, Any]:
    """Content of `curves.json`."""
    evaluation = assessment.evaluation
    return {
        "class_names": list(assessment.class_names),
        "captions": dict(captions),
        "precision_recall": {k: _plain(v) for k, v in evaluation.curves.items()},
        "pools": {k: _plain(v) for k, v in evaluation.pools.items()},
        "lookups": {
            name: {k: _plain(v) for k, v in sweep.items()}
            for name, sweep in evaluation.lookups.items()
        },
        "class_hamming": [_plain(row) for row in evaluation.class_hamming],
        "confusion": None if evaluation.confusion is None else evaluation.confusion.tolist(),
    }


def _plain(values: np.ndarray) -> list[Any]:
    """Numbers for JSON; NaN becomes null."""
    return [None if value != value else value for value in np.asarray(values).tolist()]


def _metrics(
    assessment: Assessment,
    dataset: Mapping[str, Sequence[int]],
    segmentation: Mapping[str, float] | None,
    efficiency: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """Content of `metrics.json`."""
    evaluation, nodule_counts = assessment.evaluation, assessment.nodule_counts
    return {
        "dataset": {
            split: {str(label): int(count) for label, count in enumerate(counts)}
            for split, counts in dataset.items()
        },
        "segmentation": dict(segmentation) if segmentation else None,
        "classification": evaluation.classification,
        "pool": evaluation.pool,
        "paper": evaluation.paper,
        "rankings": evaluation.rankings,
        "lookup": evaluation.lookup,
        "codes": evaluation.codes,
        "efficiency": None if efficiency is None else [dict(row) for row in efficiency],
        "intervals": assessment.intervals or None,
        "protocol": evaluation.counts,
        "within_class": assessment.within_class,
        "properties": assessment.properties,
        "similarity": assessment.similarity,
        "by_nodule": {
            "rankings": assessment.by_nodule,
            "properties": assessment.nodule_properties,
            "similarity": assessment.nodule_similarity,
            **nodule_counts,
        }
        if nodule_counts
        else None,
    }


def in_words(assessment: Assessment) -> str:
    """The results as lines of text, as a run prints them."""
    lines = [*_ranking_lines(assessment), *_similarity_lines(assessment)]
    lines += _nodule_lines(assessment)
    lines += [
        _within_class_line(row) for row in assessment.within_class if row["ranking"] == "two_stage"
    ]
    lines += _constant_lines(assessment)
    if assessment.mixed_nodule:
        lines.append(
            f"  note: slices of {assessment.mixed_nodule} differ in class, so there is no search "
            "for whole nodules"
        )
    return "\n".join(lines)


def _constant_lines(assessment: Assessment) -> list[str]:
    """A note if the classifier predicts one class for all queries, although they have several."""
    found = assessment.evaluation.classification
    per_class = found["per_class"] if found else []
    predicted = [row["class"] for row in per_class if row["precision"] is not None]
    if len(predicted) != 1 or sum(row["support"] > 0 for row in per_class) < 2:
        return []
    name = assessment.class_names[predicted[0]]
    return [
        f"  note: FC3 predicts the class {name} for every query; if the training loss did not fall "
        "either, try a longer warm-up (config.train.warmup_epochs) or a smaller learning rate"
    ]


def _ranking_lines(assessment: Assessment) -> list[str]:
    """A line for each ranking, with the interval of its macro mAP."""
    evaluation, intervals = assessment.evaluation, assessment.intervals
    k = evaluation.counts["k"]
    keys = ("map_macro", f"precision_at_{k}_macro", f"ndcg_at_{k}")
    lines = [f"  {'':<24}{'macro mAP':>9}  {'95 %':<14}  {f'P@{k}':>5}  {f'nDCG@{k}':>7}"]
    for name, row in evaluation.rankings.items():
        ends = intervals.get("rankings", {}).get(name, {}).get("map_macro")
        between = f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
        score, precision, ndcg = (_number(row[key]) for key in keys)
        title = vocabulary.ranking(name).title
        lines.append(f"  {title:<24}{score:>9}  {between:<14}  {precision:>5}  {ndcg:>7}")
    if caution := intervals.get("caution"):
        lines.append(f"  note: {caution}")
    return lines


def _similarity_lines(assessment: Assessment) -> list[str]:
    """A line for the similarity over all properties, and one for the single differences."""
    found = {row["ranking"]: row for row in assessment.similarity}
    if not found:
        return []
    ours = found[property_tables.OURS]
    shown = (name for name in ("softmax", "pixels") if name in found)
    others = [(vocabulary.ranking(n).title, found[n]["similarity"]) for n in shown]
    others += [("random in the class", ours["class_random"]), ("random", ours["random"])]
    listed = ", ".join(f"{title} {_number(value)}" for title, value in others)
    single = ", ".join(
        f"{vocabulary.find_property(row['property']).title} {row['difference']:.2f}"
        for row in assessment.properties
        if row["ranking"] == property_tables.OURS
    )
    return [
        f"  similarity over all properties {_number(ours['similarity'])} ({listed})",
        f"  mean differences: {single}",
    ]


def _nodule_lines(assessment: Assessment) -> list[str]:
    """A line for the search for nodules, and one for what it must beat."""
    return [
        f"  {'by nodule, ' + vocabulary.ranking(row['ranking']).title:<34}"
        f"macro mAP {_number(row['average_precision'])}  nDCG@10 {_number(row['ndcg'])}"
        for row in assessment.by_nodule
        if row["ranking"] in ("two_stage", "softmax")
    ]


def _within_class_line(row: Mapping[str, Any]) -> str:
    """A measure within the query's class with its unit, next to that of a random order."""
    metric = within_class.metric_of(row["measure"])
    unit = f" {metric.unit}" if metric.unit else ""
    value, random = (f"{row[key]:.{metric.digits}f}{unit}" for key in ("value", "random"))
    title = metric.title
    if row["measure"] == within_class.MATCHED:
        title = "share ranked before another slice of the same nodule"
    return f"  within a class, {title}: {value} (random order: {random}), p = {row['p_value']:.2g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _plots(
    assessment: Assessment,
    dataset: Mapping[str, Sequence[int]],
    efficiency: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Figure]:
    """The figures that need no images, by stem."""
    evaluation, names = assessment.evaluation, assessment.class_names
    pools, counts = evaluation.pools, evaluation.counts
    threshold = round(evaluation.pool["mean_threshold"])  # raised for small pools
    used = min(threshold - 1, counts["bits"])
    intervals = assessment.intervals.get("rankings", {})
    ends = {name: rows["map_macro"] for name, rows in intervals.items()}
    drawn = {
        "baselines": rankings.baselines(
            {name: row["map_macro"] for name, row in evaluation.rankings.items()},
            ends,
            measure="mAP (mean over classes)",
        ),
        "precision_recall": rankings.precision_recall(
            evaluation.curves,
            pool=(float(pools["recall"][used]), float(pools["precision"][used])),
        ),
        "pools": codes.pools(pools, threshold=threshold, items=counts["gallery"]),
        "lookups": codes.lookups(evaluation.lookups),
        "class_hamming": codes.class_hamming(evaluation.class_hamming, names),
        "class_counts": items.class_counts(dataset, names),
        "map": _map(counts["fine"], assessment.queries, assessment.gallery, names),
    }
    if assessment.properties:
        drawn["similarity"] = similarity.differences(assessment.properties, k=counts["k"])
    if evaluation.confusion is not None:
        drawn["confusion"] = rankings.confusion(evaluation.confusion, names)
    drawn["efficiency"] = codes.efficiency(pools, efficiency or (), items=counts["gallery"])
    return drawn


def _map(fine: str, queries: Embedded, gallery: Embedded, names: Sequence[str]) -> Figure:
    """Map of the first two principal components of the fine feature, fitted on the gallery."""
    items, shown = (
        np.linspace(0, len(side) - 1, min(len(side), most)).astype(int)
        for side, most in ((gallery, MAPPED), (queries, MAPPED // 10))
    )
    mean, axes, shares = principal(gallery.features[fine][items], 2)
    points = [(side.features[fine] - mean) @ axes for side in (gallery, queries)]
    return rankings.embedding_map(
        points[0][items],
        gallery.labels[items],
        points[1][shown],
        queries.labels[shown],
        shares,
        names,
        feature=vocabulary.ranking(fine).title,
    )
