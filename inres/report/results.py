"""What an evaluation leaves on disk: metrics, curves, tables, figures and their provenance."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres.data.items import CLASS_NAMES
from inres.encoding.pca import principal
from inres.evaluation import further
from inres.evaluation.embedded import Embedded
from inres.evaluation.protocol import Evaluation
from inres.figures import codes, items, panels, rankings, style
from inres.figures.rankings import RANKING_NAMES
from inres.system import files, tables

PAPER_COUNTS = (1000, 270, 232, 276, 234, 100, 55, 19)
"""Items of each class (paper, Table 2)."""
PAPER_SCORES = (84.6, 77.5, 76.5, 73.8, 76.7, 65.7, 52.1, 52.0)
"""Score of each class (paper, Table 3)."""
WORST = 6
"""Queries of the error gallery."""
MAPPED = 3000
"""Most items of a map; of queries a tenth as many, or they would hide them."""


def write_evaluation(
    evaluation: Evaluation,
    out: Path,
    *,
    dataset: Mapping[str, Sequence[int]],
    segmentation: Mapping[str, float] | None = None,
    names: Sequence[str],
    queries: Embedded,
    gallery: Embedded,
    query_images: np.ndarray | None = None,
    gallery_images: np.ndarray | None = None,
    intervals: Mapping[str, Any] | None = None,
    efficiency: Sequence[Mapping[str, Any]] | None = None,
    beside: further.Further | None = None,
    pdf: bool = True,
) -> Path:
    """Write metrics, curves, tables and figures of an evaluation into the folder `out`.

    Files: `metrics.json`, `curves.json`, the tables `table2`, `table3`, `rankings`, `margins`,
    `codes`, `lookup` and `efficiency` (each `.csv` and `.tex`), `galleries.csv` (provenance of
    every image of the search panels) and `figures/*` (each `.png`, `.svg` and, with `pdf`,
    `.pdf`).
    `metrics.json` comes last: where it stands, the rest is whole.

    Args:
      evaluation: from `protocol.evaluate`.
      out: usually `<workdir>/evaluation`.
      dataset: items of each class by split, as `{"train": [n_0, n_1, ...]}`.
      segmentation: `dice` and `iou`, where a U-Net was trained.
      names: the classes, as `class_names`.
      queries, gallery: what was evaluated.
      query_images, gallery_images: uint8 [Q, S, S] and [N, S, S]; None where there are none,
        and then no panels are drawn.
      intervals: from `confidence`; None where none were made.
      efficiency: what searching costs, a row a threshold: `threshold`, `mean_pool`,
        `neighbours_kept`, `seconds_per_query`; None where it was not measured.
      beside: from `further.judge`; adds `within_class` and `by_nodule`.

    Returns:
      The path of `metrics.json`.

    Raises:
      ValueError: images or counts do not match the items or classes.
    """
    for name, images, side in (
        ("query_images", query_images, queries),
        ("gallery_images", gallery_images, gallery),
    ):
        if images is None:
            continue
        if images.dtype != np.uint8 or images.ndim != 3 or len(images) != len(side):
            raise ValueError(
                f"{name} must be uint8 [{len(side)}, S, S], got {images.dtype} {images.shape}"
            )
    for split, counts in dataset.items():
        if len(counts) != len(names):
            raise ValueError(f"dataset[{split!r}] has {len(counts)} counts for {len(names)} names")
    shots: list[_Shot] = []
    drawn = _plots(evaluation, dataset, names, queries, gallery, intervals, efficiency)
    if query_images is not None and gallery_images is not None:
        shower = _Shower(evaluation, queries, gallery, query_images, gallery_images, names)
        shots = [*shower.medians(), *shower.errors()]
        drawn |= {shot.stem: shot.figure for shot in shots}
        drawn["samples"] = items.sample_sheet(
            query_images, queries.labels, queries.diameters_mm, names
        )
    for stem, figure in drawn.items():
        style.save(figure, out / "figures" / stem, pdf=pdf)
    files.write_csv(out / "galleries.csv", PROVENANCE, [row for shot in shots for row in shot.rows])
    for name, rows in _tables(evaluation, dataset, names, intervals, efficiency).items():
        tables.write_table(out / name, {key: key for key in (rows[0] if rows else ())}, rows)
    files.write_json(
        out / "curves.json",
        {
            "class_names": list(names),
            "captions": {shot.stem: shot.caption for shot in shots},
            "precision_recall": {k: _plain(v) for k, v in evaluation.curves.items()},
            "pools": {k: _plain(v) for k, v in evaluation.pools.items()},
            "lookups": {
                name: {k: _plain(v) for k, v in sweep.items()}
                for name, sweep in evaluation.lookups.items()
            },
            "class_hamming": [_plain(row) for row in evaluation.class_hamming],
            "confusion": None if evaluation.confusion is None else evaluation.confusion.tolist(),
        },
    )
    metrics = {
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
        "intervals": intervals,
        "protocol": evaluation.counts,
        **(beside.as_json() if beside is not None else {}),
    }
    if beside is not None:
        further.write(beside, out)
    files.write_json(out / "metrics.json", metrics)
    return out / "metrics.json"


def in_words(evaluation: Evaluation, intervals: Mapping[str, Any] | None = None) -> str:
    """The judged search and every baseline as lines of text: what a run prints."""
    k = evaluation.counts["k"]
    keys = ("map_macro", f"precision_at_{k}_macro", f"ndcg_at_{k}")
    lines = [f"  {'':<24}{'macro mAP':>9}  {'95 %':<14}  {f'P@{k}':>5}  {f'nDCG@{k}':>7}"]
    for name, row in evaluation.rankings.items():
        ends = (intervals or {}).get("rankings", {}).get(name, {}).get(keys[0])
        between = f"{ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
        shown = ["-" if row[key] is None else f"{row[key]:.3f}" for key in keys]
        title = RANKING_NAMES[name]
        lines.append(f"  {title:<24}{shown[0]:>9}  {between:<14}  {shown[1]:>5}  {shown[2]:>7}")
    if caution := (intervals or {}).get("caution"):
        lines.append(f"  note: {caution}")
    return "\n".join(lines)


def _plain(values: np.ndarray) -> list[Any]:
    """JSON's numbers; NaN becomes null."""
    return [None if value != value else value for value in np.asarray(values).tolist()]


PROVENANCE = (
    *("figure", "query", "rank", "name", "scan", "nodule", "label", "diameter_mm"),
    *("hamming", "distance"),
)
"""Columns of `galleries.csv`: rank 0 is the query itself."""


def _tables(
    evaluation: Evaluation,
    dataset: Mapping[str, Sequence[int]],
    names: Sequence[str],
    intervals: Mapping[str, Any] | None,
    efficiency: Sequence[Mapping[str, Any]] | None,
) -> dict[str, list[dict[str, Any]]]:
    """Rows of the tables by name; the paper's columns stand where its classes do."""
    paper = list(names) == list(CLASS_NAMES)
    table2 = [
        {
            "class": label,
            "name": name,
            **{split: int(counts[label]) for split, counts in dataset.items()},
            "all": int(sum(counts[label] for counts in dataset.values())),
            **({"paper": PAPER_COUNTS[label]} if paper else {}),
        }
        for label, name in enumerate(names)
    ]
    per_class = evaluation.classification["per_class"] if evaluation.classification else []
    table3 = [
        {
            "class": row["class"],
            "name": names[row["class"]],
            **{k: v for k, v in row.items() if k != "class"},
            **({"paper": PAPER_SCORES[row["class"]] / 100} if paper else {}),
        }
        for row in per_class
    ]
    ends = (intervals or {}).get("rankings", {})
    rankings = []
    for name, numbers in evaluation.rankings.items():
        row: dict[str, Any] = {"ranking": name}
        for key, value in numbers.items():
            row[key] = value
            if name in ends:
                row[f"{key}_low"], row[f"{key}_high"] = ends[name][key] or (None, None)
        rankings.append(row)
    margins = [
        {"ranking": name, "measure": key, **values}
        for name, measures in (intervals or {}).get("margins", {}).items()
        for key, values in measures.items()
    ]
    return {
        "table2": table2,
        "table3": table3,
        "rankings": rankings,
        "margins": margins,
        "codes": [{"ranking": name, **row} for name, row in evaluation.codes.items()],
        "lookup": [{"ranking": name, **row} for name, row in evaluation.lookup.items()],
        "efficiency": [dict(row) for row in efficiency or ()],
    }


@dataclasses.dataclass(frozen=True)
class _Shot:
    """One search panel with its words and the provenance of its images."""

    stem: str
    figure: Any
    caption: str
    rows: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class _Shower:
    """Draws what the search returned."""

    evaluation: Evaluation
    queries: Embedded
    gallery: Embedded
    query_images: np.ndarray
    gallery_images: np.ndarray
    names: Sequence[str]

    def medians(self) -> list[_Shot]:
        """The paper's Figs. 9 and 10, and one panel for every class: its median query."""
        labels = self.queries.labels
        precision = self.evaluation.per_query["two_stage"]["search_precision"]
        groups = {"query_normal": labels == 0, "query_nodule": labels > 0}
        groups |= {f"query_class_{c}": labels == c for c in range(1, len(self.names))}
        shots = []
        for stem, chosen in groups.items():
            rows = np.flatnonzero(chosen)
            if not len(rows) or (len(self.names) == 2 and stem == "query_class_1"):
                continue
            rows = rows[np.argsort(precision[rows], kind="stable")]
            shots.append(self._panel(stem, int(rows[len(rows) // 2])))
        return shots

    def errors(self) -> list[_Shot]:
        """The worst queries by average precision, one scan each; none where nothing is scored."""
        scores = self.evaluation.per_query["two_stage"]["average_precision"]
        known = np.flatnonzero(np.isfinite(scores))
        chosen: list[int] = []
        scans: set[str] = set()
        for query in known[np.argsort(scores[known], kind="stable")]:
            scan = str(self.queries.scans[query])
            if scan and scan in scans:
                continue
            scans.add(scan)
            chosen.append(int(query))
            if len(chosen) == WORST:
                break
        if not chosen:
            return []
        lines, rows = [], []
        for query in chosen:
            results, found = self._results("errors", query)
            note = f"AP {scores[query]:.3f}"
            lines.append((self._query(query), results[:7], note))
            rows += found[: 1 + len(lines[-1][1])]
        caption = (
            f"The {len(chosen)} test queries that the two-stage search ranks worst (lowest average "
            "precision, one a scan), and the nearest items that it returned instead. Look for "
            "queries at a class edge, nodules that the image hardly shows, and doubtful labels."
        )
        figure = panels.error_sheet(lines, class_names=self.names)
        return [_Shot("errors", figure, caption, rows)]

    def _query(self, query: int) -> panels.Shown:
        return self._shown(self.queries, self.query_images, query)

    def _shown(
        self, side: Embedded, images: np.ndarray, row: int, **distances: Any
    ) -> panels.Shown:
        return panels.Shown(
            images[row],
            int(side.labels[row]),
            float(side.diameters_mm[row]),
            str(side.scans[row]),
            **distances,
        )

    def _results(self, stem: str, query: int) -> tuple[list[panels.Shown], list[dict[str, Any]]]:
        """What a query returned, and the provenance of query and results."""
        results = []
        rows = [_record(self.queries, query, figure=stem, query=query, rank=0)]
        for rank, row in enumerate(self.evaluation.top[query], start=1):
            if row < 0:
                break
            distances = {
                "hamming": int(self.evaluation.top_hamming[query, rank - 1]),
                "distance": float(self.evaluation.top_distance[query, rank - 1]),
            }
            results.append(self._shown(self.gallery, self.gallery_images, int(row), **distances))
            rows.append(
                _record(self.gallery, int(row), figure=stem, query=query, rank=rank, **distances)
            )
        return results, rows

    def _panel(self, stem: str, query: int) -> _Shot:
        results, rows = self._results(stem, query)
        label = int(self.queries.labels[query])
        figure = panels.search_panel(
            self._query(query),
            results,
            class_names=self.names,
            title=f"Query: {panels.class_title(label, self.names)}",
        )
        right = sum(result.label == label for result in results)
        kind = {"query_normal": "normal queries", "query_nodule": "nodule queries"}.get(
            stem, f"queries of class {panels.class_title(label, self.names)}"
        )
        paper = {"query_normal": "9", "query_nodule": "10"}.get(stem)
        manner = f" (in the manner of the paper's Fig. {paper})" if paper else ""
        caption = (
            f"{right} of {len(results)} results share the query's class{manner}. It is the median "
            f"of the {kind} by search precision, not a chosen one. Blue tick: same class; black "
            "cross: another; red: diameter; H and E: Hamming and Euclidean distance."
        )
        return _Shot(stem, figure, caption, rows)


def _record(side: Embedded, row: int, **columns: Any) -> dict[str, Any]:
    """Where an image of a panel comes from."""
    diameter = float(side.diameters_mm[row])
    return {
        "name": str(side.names[row]),
        "scan": str(side.scans[row]),
        "nodule": "" if side.nodules is None else str(side.nodules[row]),
        "label": int(side.labels[row]),
        "diameter_mm": "" if math.isnan(diameter) else diameter,
        **columns,
    }


def _plots(
    evaluation: Evaluation,
    dataset: Mapping[str, Sequence[int]],
    names: Sequence[str],
    queries: Embedded,
    gallery: Embedded,
    intervals: Mapping[str, Any] | None,
    efficiency: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    """The other figures of the evaluation, by stem."""
    pools, counts = evaluation.pools, evaluation.counts
    used = min(counts["threshold"] - 1, counts["bits"])
    ends = {name: rows["map_macro"] for name, rows in (intervals or {}).get("rankings", {}).items()}
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
        "pools": codes.pools(pools, threshold=counts["threshold"], items=counts["gallery"]),
        "lookups": codes.lookups(evaluation.lookups),
        "class_hamming": codes.class_hamming(evaluation.class_hamming, names),
        "class_counts": items.class_counts(dataset, names),
        "map": _map(counts["fine"], queries, gallery, names),
    }
    if evaluation.confusion is not None:
        drawn["confusion"] = rankings.confusion(evaluation.confusion, names)
    drawn["efficiency"] = codes.efficiency(pools, efficiency or (), items=counts["gallery"])
    return drawn


def _map(fine: str, queries: Embedded, gallery: Embedded, names: Sequence[str]) -> Any:
    """The first two principal components of the fine feature, fitted on the gallery."""
    some, asked = (
        np.linspace(0, len(side) - 1, min(len(side), most)).astype(int)
        for side, most in ((gallery, MAPPED), (queries, MAPPED // 10))
    )
    mean, axes, shares = principal(gallery.features[fine][some], 2)
    points = [(side.features[fine] - mean) @ axes for side in (gallery, queries)]
    return rankings.embedding_map(
        points[0][some],
        gallery.labels[some],
        points[1][asked],
        queries.labels[asked],
        shares,
        names,
        feature=RANKING_NAMES[fine],
    )
