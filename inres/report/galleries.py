"""Panels of queries and what the search returned, with the provenance of every image."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from inres.evaluation.embedded import Embedded
from inres.evaluation.protocol import Evaluation
from inres.figures import panels

WORST = 6
"""Number of queries in the gallery of errors."""
PROVENANCE = (
    *("figure", "query", "rank", "name", "scan", "nodule", "label", "diameter_mm"),
    *("hamming", "distance", "item"),
)
"""Columns of `galleries.csv`; rank 0 is the query itself, `item` the row of the item table,
counted from 0."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """One search panel with its caption and the provenance of its images."""

    stem: str
    figure: Figure
    caption: str
    rows: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Panels:
    """Draws panels of what the search returned."""

    evaluation: Evaluation
    queries: Embedded
    gallery: Embedded
    query_images: np.ndarray
    gallery_images: np.ndarray
    names: Sequence[str]

    def medians(self) -> list[Panel]:
        """Median queries: normal, nodule (the paper's Figs. 9 and 10), and one of each class."""
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

    def errors(self) -> list[Panel]:
        """The worst queries by average precision, at most one per scan; empty without scores."""
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
            f"The {len(chosen)} test queries with the lowest average precision of the two-stage "
            "search (one per scan), and the nearest items that it returned. Look for queries at a "
            "class edge, nodules that are hardly visible, and doubtful labels."
        )
        figure = panels.error_sheet(lines, class_names=self.names)
        return [Panel("errors", figure, caption, rows)]

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
        """The results of a query, and the provenance of query and results."""
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

    def _panel(self, stem: str, query: int) -> Panel:
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
        manner = f" (like the paper's Fig. {paper})" if paper else ""
        caption = (
            f"{right} of {len(results)} results are of the query's class{manner}. The query is the "
            f"median of the {kind} by search precision. Blue tick: same class; black cross: "
            "another class; red: diameter; H and E: Hamming and Euclidean distance."
        )
        return Panel(stem, figure, caption, rows)


def _record(side: Embedded, row: int, **columns: Any) -> dict[str, Any]:
    """Provenance of one image of a panel."""
    diameter = float(side.diameters_mm[row])
    return {
        "name": str(side.names[row]),
        "scan": str(side.scans[row]),
        "nodule": "" if side.nodules is None else str(side.nodules[row]),
        "label": int(side.labels[row]),
        "diameter_mm": "" if math.isnan(diameter) else diameter,
        "item": "" if side.items is None else int(side.items[row]),
        **columns,
    }
