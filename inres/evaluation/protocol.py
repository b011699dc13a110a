"""The retrieval protocol: which items a query may find, every ranking, every measure.

Queries and gallery go in as the network sees them (`Embedded`); nothing here knows a network.
Items of the query's own scan are never returned unless asked for. All rankings are judged by
the same tie-exact measures (`inres.evaluation.metrics`), so no figure depends on the order of
the gallery.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from inres.evaluation import metrics

RANKINGS = (
    "two_stage",
    "hamming",
    "fc1",
    "fc2",
    "fc3",
    "fc1_fc3",
    "pixels",
    "predicted_class",
    "chance",
)
"""Every ranking, in the order of tables. A ranking whose features are absent is left out."""


@dataclasses.dataclass(frozen=True)
class Embedded:
    """One side of a search: N items, their truth and what the network made of them."""

    labels: np.ndarray
    """int32 [N], the class, 0 meaning no nodule."""
    scans: np.ndarray
    """str [N]; empty where unknown, which is nobody's own scan."""
    diameters_mm: np.ndarray
    """float [N], 0 for no nodule, NaN where unknown."""
    bits: np.ndarray
    """bool [N, h], the code."""
    features: Mapping[str, np.ndarray]
    """float [N, D] by name: `fc1`, `fc2` (activations of H), `fc3` (logits), `fc1_fc3`,
    `pixels`."""
    names: np.ndarray
    """str [N], where an item comes from."""

    def __post_init__(self):
        columns = {
            "scans": (self.scans, 1),
            "diameters_mm": (self.diameters_mm, 1),
            "bits": (self.bits, 2),
            "names": (self.names, 1),
            **{f"features[{name!r}]": (value, 2) for name, value in self.features.items()},
        }
        if np.ndim(self.labels) != 1 or len(self.labels) == 0:
            raise ValueError(f"labels must be [N >= 1], got shape {np.shape(self.labels)}")
        for name, (value, ndim) in columns.items():
            if np.ndim(value) != ndim or len(value) != len(self.labels):
                raise ValueError(
                    f"{name} must be {ndim}-dimensional with {len(self.labels)} rows, one a "
                    f"label; got shape {np.shape(value)}"
                )
        if np.asarray(self.bits).dtype != bool:
            raise ValueError(f"bits must be bool, got {np.asarray(self.bits).dtype}")
        for name, value in self.features.items():
            if not np.isfinite(value).all():
                raise ValueError(f"features[{name!r}] hold NaN or infinity; nothing can rank them")

    def __len__(self) -> int:
        return len(self.labels)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found. Unknown numbers are None."""

    rankings: dict[str, dict[str, float | None]]
    """By ranking: `map_macro`, `map_micro`, `precision_at_10_macro`, `precision_at_10_micro`,
    `recall_at_10`, `ndcg_at_10` (both macro), `diameter_error_mm_at_10` (micro)."""
    pool: dict[str, float]
    """`mean_size` and `empty_share` of the candidate pools, own scan left out."""
    paper: dict[str, float]
    """`search_precision`: mean over all queries of hits / returned in the two-stage top k."""
    classification: dict[str, Any] | None
    """`accuracy`, `macro_recall`, `per_class` (a list) of the argmax of FC3; None without FC3."""
    confusion: np.ndarray | None
    """int64 [classes, classes], rows the truth, columns the predicted class."""
    curves: dict[str, np.ndarray]
    """`recall` [G] and, by ranking, the macro mean of interpolated precision [G]."""
    pools: dict[str, np.ndarray]
    """By Hamming threshold 1..h+1: `threshold`, macro `precision` (0 for an empty pool), macro
    `recall`, `mean_size`, `empty_share`."""
    top: np.ndarray
    """int64 [Q, k]: gallery rows of the two-stage search, nearest first, ties by lowest row; -1
    where the pool has fewer."""
    top_hamming: np.ndarray
    """int32 [Q, k], -1 where nothing is returned."""
    top_distance: np.ndarray
    """float64 [Q, k]: Euclidean distance of the fine feature, NaN where nothing is returned."""
    per_query: dict[str, dict[str, np.ndarray]]
    """By ranking and measure, float64 [Q], NaN where undefined."""
    counts: dict[str, Any]
    """`queries`, `gallery`, `classes`, `bits`, `threshold`, `k`, `fine`, `own_scan` as given,
    `excluded_pairs` (of one scan) and `queries_without_relevant`, which no mean over rankings
    contains."""


def size_gains(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Graded relevance of classes [Q] to classes [N], int8 [Q, N].

    max(0, 3 - |class difference|), and 0 between normal (class 0) and nodule.
    """
    gap = np.abs(queries[:, None].astype(np.int64) - gallery[None])
    both = (queries == 0)[:, None] == (gallery == 0)[None]
    return np.where(both, np.maximum(0, 3 - gap), 0).astype(np.int8)


def hamming_distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """int16 [Q, N]: bits in which codes bool [Q, h] and [N, h] differ."""
    a, b = (2 * bits.astype(np.float32) - 1 for bits in (queries, gallery))
    return ((queries.shape[1] - a @ b.T) / 2).astype(np.int16)  # whole numbers: exact


class Euclidean:
    """Squared Euclidean distances that do not depend on the order of rows or of summation.

    |a|^2 - 2ab + |b|^2 in floats loses rankings where features have a common offset, and its
    rounding depends on a row's place in the matrix, which would break exact ties. Here features
    are centred, and split into two whole numbers of at most 22 bits; every product and sum is
    then exact in float64. What remains is the rounding of features to about 1e-11 of their range.
    """

    def __init__(self, queries: np.ndarray, gallery: np.ndarray):
        """Prepare features float [Q, D] and [N, D]; the ranges of both decide the rounding.

        Raises:
          ValueError: the widths differ.
        """
        if queries.shape[1] != gallery.shape[1]:
            raise ValueError(f"{queries.shape[1]} features a query, {gallery.shape[1]} an item")
        low = np.minimum(queries.min(axis=0), gallery.min(axis=0)).astype(np.float64)
        high = np.maximum(queries.max(axis=0), gallery.max(axis=0)).astype(np.float64)
        both = (side[rows] for side in (queries, gallery) for rows in _blocks(side))
        whole = not any((some % 1).any() for some in both)
        self._centre = np.zeros(len(low)) if whole else (low + high) / 2
        top = np.abs([low - self._centre, high - self._centre]).max()
        # |a - b|^2 of D numbers up to 2^bits is at most D * 2^(2 bits + 2) <= 2^53.
        self._bits = min(22, (51 - len(low).bit_length()) // 2)
        self._exponent = self._bits - int(np.frexp(top)[1])
        if whole:
            self._exponent = min(self._exponent, 0)
        self._queries, self._gallery = self._split(queries), self._split(gallery)

    def _split(self, side: np.ndarray) -> "_Split":
        """[M, D] as coarse and fine whole numbers."""
        coarse, fine = np.empty(side.shape, np.float32), np.empty(side.shape, np.float32)
        norms = np.empty((3, len(side), 1))
        for rows in _blocks(side):
            scaled = np.ldexp(side[rows].astype(np.float64) - self._centre, self._exponent)
            high = np.rint(scaled)
            low = np.rint(np.ldexp(scaled - high, self._bits))
            coarse[rows], fine[rows] = high, low
            for norm, product in zip(norms, (high * high, high * low, low * low), strict=True):
                norm[rows, 0] = product.sum(axis=1)
        return _Split(coarse, fine if fine.any() else None, norms)

    def rows(self, part: slice) -> np.ndarray:
        """Squared distances of the queries in `part` to all items, float64 [q, N]."""
        step = 2.0**-self._bits
        a, a_fine = self._queries.rows(part)
        out = np.empty((len(a), len(self._gallery.coarse)))
        for rows in _blocks(self._gallery.coarse):
            b, b_fine = self._gallery.rows(rows)
            gap, cross, low = (
                left[part] + right[rows].T
                for left, right in zip(self._queries.norms, self._gallery.norms, strict=True)
            )
            gap -= 2.0 * (a @ b.T)
            if b_fine is not None:
                cross -= a @ b_fine.T
            if a_fine is not None:
                cross -= a_fine @ b.T
            if a_fine is not None and b_fine is not None:
                low -= 2.0 * (a_fine @ b_fine.T)
            gap += 2 * step * cross + step**2 * low
            out[:, rows] = np.ldexp(np.maximum(gap, 0.0), -2 * self._exponent)
        return out


class _Split(NamedTuple):
    """Features [M, D] as whole numbers, exact in float32: coarse + 2^-bits fine."""

    coarse: np.ndarray
    fine: np.ndarray | None
    """None where all are 0."""
    norms: np.ndarray
    """float64 [3, M, 1]: coarse . coarse, coarse . fine, fine . fine of each row."""

    def rows(self, rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Some rows of both, float64."""
        fine = None if self.fine is None else self.fine[rows].astype(np.float64)
        return self.coarse[rows].astype(np.float64), fine


def _blocks(features: np.ndarray) -> Iterator[slice]:
    """Rows of [M, D] in blocks of bounded memory."""
    return metrics.chunks(*features.shape, cells=1 << 22)


def two_stage(
    fine: np.ndarray, hamming: np.ndarray, *, threshold: int, excluded: np.ndarray
) -> np.ndarray:
    """The two-stage order of the whole gallery as distances, float64 [Q, N].

    Items of the pool (Hamming distance below `threshold`) come first, by `fine` distance; all
    others follow by Hamming distance, ties kept. Excluded items are +inf.
    """
    # 2^1000 is above any squared distance of float32 features, and its multiples are exact.
    order = np.where(hamming < threshold, fine, np.ldexp(1.0 + hamming, 1000))
    order[excluded] = np.inf
    return order


class _Distances:
    """The distances of every ranking, for one part of the queries at a time."""

    def __init__(self, queries: Embedded, gallery: Embedded, *, threshold: int, fine: str):
        self.queries, self.gallery = queries, gallery
        self.threshold, self.fine = threshold, fine
        shared = [n for n in queries.features if n in gallery.features and n in RANKINGS]
        wanted = sorted({fine, *shared})
        self.euclidean = {
            name: Euclidean(queries.features[name], gallery.features[name]) for name in wanted
        }
        self.predicted = None
        if "fc3" in shared:
            self.predicted = [side.features["fc3"].argmax(1) for side in (queries, gallery)]

    def part(
        self, part: slice, hamming: np.ndarray, fine: np.ndarray, excluded: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Name and distances [q, N] of each ranking, +inf where `excluded`."""
        for name in RANKINGS:
            if name == "two_stage":
                distances = two_stage(fine, hamming, threshold=self.threshold, excluded=excluded)
            elif name == "hamming":
                distances = hamming
            elif name == "chance":
                distances = np.zeros(hamming.shape, np.int16)
            elif name == "predicted_class":
                if self.predicted is None:
                    continue
                distances = self.predicted[0][part, None] != self.predicted[1]
            elif name == self.fine:
                distances = fine
            elif name in self.euclidean:
                distances = self.euclidean[name].rows(part)
            else:
                continue
            if distances.dtype.kind != "f":
                distances = distances.astype(np.float32)
            yield name, np.where(excluded, np.inf, distances).astype(distances.dtype)


def _same_scan(queries: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integers [Q] and [N] that are equal where the scans are the same and known."""
    both = np.concatenate([np.asarray(queries, str), np.asarray(gallery, str)])
    known, number = np.unique(both, return_inverse=True)
    left, right = number[: len(queries)].copy(), number[len(queries) :].copy()
    unknown = np.flatnonzero(known == "")
    left[np.isin(left, unknown)] = -1
    right[np.isin(right, unknown)] = -2
    return left, right


def _check(queries: Embedded, gallery: Embedded, classes: int, threshold: int, fine: str) -> None:
    for name, side in (("queries", queries), ("gallery", gallery)):
        labels = np.asarray(side.labels)
        if labels.min() < 0 or labels.max() >= classes:
            bad = int(np.sum((labels < 0) | (labels >= classes)))
            raise ValueError(
                f"{bad} {name} have a class outside 0..{classes - 1} (-1 is unknown); "
                "leave unlabelled items out of an evaluation"
            )
        if fine not in side.features:
            raise ValueError(f"no features {fine!r} in {name} (has {', '.join(side.features)})")
    if queries.bits.shape[1] != gallery.bits.shape[1]:
        raise ValueError(
            f"codes of {queries.bits.shape[1]} bits in queries, {gallery.bits.shape[1]} in gallery"
        )
    if threshold < 1:
        raise ValueError(f"threshold is {threshold}: must be at least 1, or every pool is empty")


def evaluate(
    queries: Embedded,
    gallery: Embedded,
    *,
    classes: int,
    threshold: int,
    fine: str = "fc1",
    k: int = 10,
    own_scan: bool = False,
) -> Evaluation:
    """Search `gallery` for every query by every ranking and judge the results.

    An item is relevant if its class is the query's. Memory is bounded: queries are taken in
    parts. Measures are defined in `metrics`; those over the top k stand under names that end in
    the k asked for (`precision_at_10_macro`).

    Diameter error: queries are the nodules of known diameter; the expected mean over the top k
    of |diameter difference| in mm, where a normal item counts as 0 mm (returning a normal for a
    20 mm nodule is an error of 20 mm) and items of unknown diameter do not count.

    Args:
      queries: test items.
      gallery: the archive.
      classes: number of classes; labels are 0..classes - 1.
      threshold: the pool holds items with a Hamming distance below it.
      fine: the feature that orders the pool.
      k: length of the result list.
      own_scan: let items of the query's own scan be found.

    Raises:
      ValueError: a label is unknown or out of range, or the sides do not fit each other.
    """
    _check(queries, gallery, classes, threshold, fine)
    bits = queries.bits.shape[1]
    mine, theirs = _same_scan(queries.scans, gallery.scans)
    distances = _Distances(queries, gallery, threshold=threshold, fine=fine)
    parts: dict[str, list[dict[str, np.ndarray]]] = {}
    pools: list[tuple[np.ndarray, np.ndarray]] = []
    search: list[tuple[np.ndarray, ...]] = []
    pairs = 0
    for part in metrics.chunks(len(queries), len(gallery)):
        excluded = mine[part, None] == theirs
        excluded &= not own_scan
        pairs += int(excluded.sum())
        labels = queries.labels[part]
        relevance = labels[:, None] == gallery.labels
        truth = _Truth(
            relevance,
            size_gains(labels, gallery.labels),
            _diameter_gaps(queries.diameters_mm[part], gallery.diameters_mm),
        )
        hamming = hamming_distances(queries.bits[part], gallery.bits)
        near = distances.euclidean[fine].rows(part)
        pools.append(metrics.lookup(hamming, relevance, excluded, bits=bits))
        sizes = pools[-1][0][:, min(threshold - 1, bits)]
        for name, found in distances.part(part, hamming, near, excluded):
            ranking = metrics.rank(found)
            hits = metrics.find(ranking, relevance)
            parts.setdefault(name, []).append(_judge(hits, truth, k))
            if name == "two_stage":
                returned = np.minimum(sizes, k)
                share = metrics.hits_at(hits, returned) / np.maximum(returned, 1)
                search.append((share, *_top(found, returned, hamming, near, k)))
    per_query = {
        name: {key: np.concatenate([part[key] for part in found]) for key in found[0]}
        for name, found in parts.items()
    }
    curves = {name: values.pop("curve") for name, values in per_query.items()}
    sizes, hits_in = (np.concatenate(side) for side in zip(*pools, strict=True))
    share, top, top_hamming, top_distance = (
        np.concatenate(side) for side in zip(*search, strict=True)
    )
    per_query["two_stage"]["search_precision"] = share
    per_query["two_stage"]["pool_size"] = sizes[:, min(threshold - 1, bits)].astype(np.float64)
    relevant = per_query["two_stage"]["relevant"]
    classification, confusion = None, None
    if distances.predicted is not None:
        confusion = _confusion(queries.labels, distances.predicted[0], classes)
        classification = _classification(queries, confusion)
    return Evaluation(
        rankings={name: _summary(values, queries.labels, k) for name, values in per_query.items()},
        pool={
            "mean_size": float(per_query["two_stage"]["pool_size"].mean()),
            "empty_share": float((per_query["two_stage"]["pool_size"] == 0).mean()),
        },
        paper={"search_precision": float(share.mean())},
        classification=classification,
        confusion=confusion,
        curves={
            "recall": metrics.RECALL_GRID,
            **{name: _macro_columns(curve, queries.labels) for name, curve in curves.items()},
        },
        pools=_pool_sweep(sizes, hits_in, relevant, queries.labels),
        top=top,
        top_hamming=top_hamming,
        top_distance=top_distance,
        per_query=per_query,
        counts={
            "queries": len(queries),
            "gallery": len(gallery),
            "classes": classes,
            "bits": bits,
            "threshold": threshold,
            "k": k,
            "fine": fine,
            "own_scan": own_scan,
            "excluded_pairs": pairs,
            "queries_without_relevant": int((relevant == 0).sum()),
        },
    )


@dataclasses.dataclass(frozen=True)
class _Truth:
    """What is known of queries and items: each [q, N]."""

    relevance: np.ndarray
    gains: np.ndarray
    gaps_mm: np.ndarray | None


def _diameter_gaps(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray | None:
    """|diameter difference| [q, N], NaN where it does not count; None where it never does."""
    nodule = queries > 0  # NaN compares false
    if not nodule.any() or not np.isfinite(gallery).any():
        return None
    return np.where(nodule[:, None], np.abs(queries[:, None].astype(np.float64) - gallery), np.nan)


def _judge(hits: metrics.Hits, truth: _Truth, k: int) -> dict[str, np.ndarray]:
    """Every measure of one ranking, each [q], and the curve [q, G]."""
    gap = np.full(len(hits.total), np.nan)
    if truth.gaps_mm is not None:
        gap = metrics.mean_at(hits.ranking, truth.gaps_mm, k)
    return {
        "average_precision": metrics.average_precision(hits),
        "precision": metrics.precision_at(hits, k),
        "recall": metrics.recall_at(hits, k),
        "ndcg": metrics.ndcg_at(hits.ranking, truth.gains, k),
        "diameter_error_mm": gap,
        "relevant": hits.total.copy(),  # a view would keep all positions alive
        "curve": metrics.precision_recall(hits),
    }


def _summary(values: Mapping[str, np.ndarray], labels: np.ndarray, k: int) -> dict[str, Any]:
    """The row of one ranking in `metrics.json`."""
    return {
        "map_macro": metrics.macro(values["average_precision"], labels),
        "map_micro": metrics.micro(values["average_precision"]),
        f"precision_at_{k}_macro": metrics.macro(values["precision"], labels),
        f"precision_at_{k}_micro": metrics.micro(values["precision"]),
        f"recall_at_{k}": metrics.macro(values["recall"], labels),
        f"ndcg_at_{k}": metrics.macro(values["ndcg"], labels),
        f"diameter_error_mm_at_{k}": metrics.micro(values["diameter_error_mm"]),
    }


def _top(
    order: np.ndarray, returned: np.ndarray, hamming: np.ndarray, near: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, Hamming and Euclidean distances of the first `returned` [q] items, each [q, k]."""
    width = min(k, order.shape[1])
    rows = np.full((len(order), k), -1, np.int64)
    rows[:, :width] = np.argsort(order, axis=1, kind="stable")[:, :width]
    rows[np.arange(k) >= returned[:, None]] = -1
    there = rows >= 0
    at = np.maximum(rows, 0)
    bits = np.where(there, np.take_along_axis(hamming, at, axis=1), -1).astype(np.int32)
    distance = np.where(there, np.sqrt(np.take_along_axis(near, at, axis=1)), np.nan)
    return rows, bits, distance


def _macro_columns(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Macro mean of each column of [Q, G]; NaN where no query counts."""
    means = [metrics.macro(column, labels) for column in values.T]
    return np.array([np.nan if mean is None else mean for mean in means])


def _pool_sweep(
    sizes: np.ndarray, hits: np.ndarray, relevant: np.ndarray, labels: np.ndarray
) -> dict[str, np.ndarray]:
    """Pools [Q, h + 1] by threshold, averaged over the queries that have relevant items."""
    known = relevant > 0
    out = {"threshold": np.arange(1, sizes.shape[1] + 1)}
    counts = np.where(known, relevant, 1)[:, None]
    for name, values in (
        ("precision", hits / np.maximum(sizes, 1)),
        ("recall", hits / counts),
    ):
        out[name] = _macro_columns(np.where(known[:, None], values, np.nan), labels)
    out["mean_size"] = sizes.mean(axis=0)
    out["empty_share"] = (sizes == 0).mean(axis=0)
    return out


def _confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """int64 [classes, classes]: queries by true class (row) and predicted class (column)."""
    known = np.minimum(predicted, classes - 1)
    return np.bincount(truth * classes + known, minlength=classes**2).reshape(classes, classes)


def _classification(queries: Embedded, confusion: np.ndarray) -> dict[str, Any]:
    """Scores of the FC3 classifier over the queries; a class without queries has None."""
    logits = queries.features["fc3"].astype(np.float64)
    peak = logits.max(axis=1, keepdims=True)
    log_softmax = logits - peak - np.log(np.exp(logits - peak).sum(axis=1, keepdims=True))
    relevance = np.arange(logits.shape[1])[:, None] == queries.labels
    hits = metrics.find(metrics.rank(-log_softmax.T), relevance)
    scores = metrics.average_precision(hits)
    per_class = []
    for label, row in enumerate(confusion):
        right, support, named = int(row[label]), int(row.sum()), int(confusion[:, label].sum())
        per_class.append(
            {
                "class": label,
                "support": support,
                "recall": right / support if support else None,
                "precision": right / named if named else None,
                "f1": 2 * right / (support + named) if support else None,
                "average_precision": float(scores[label]) if support else None,
            }
        )
    recalls = [row["recall"] for row in per_class if row["recall"] is not None]
    return {
        "accuracy": float(np.trace(confusion) / confusion.sum()),
        "macro_recall": float(np.mean(recalls)),
        "per_class": per_class,
    }
