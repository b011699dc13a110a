"""Similarity in every known respect: properties of the first k results next to the query's.

Queries are nodules. A normal item has no properties, so it counts in no difference, has the gain 0,
and is not similar to any nodule. Values are compared in fixed point, so that sums are exact and no
result depends on the order of the gallery.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from inres import vocabulary
from inres.evaluation import graded, metrics
from inres.evaluation.embedded import Embedded
from inres.evaluation.settings import Settings

RANDOM = "chance"
"""The ranking that also has the values of a random order of the query's own class."""


@dataclasses.dataclass(frozen=True)
class Values:
    """P properties of N items in fixed point; anything where unknown."""

    known: np.ndarray
    """bool [P, N]; False for all normal items."""
    graded: Sequence[np.ndarray]
    """P arrays int64 [N], on the scale of the gain: logarithms where a property has them."""
    plain: Sequence[np.ndarray]
    """P arrays int64 [N], in units of the property; the same objects where they can be."""
    nodule: np.ndarray
    """bool [N]"""

    def rows(self, rows: slice) -> "Values":
        """The items `rows`."""
        return Values(
            self.known[:, rows],
            [column[rows] for column in self.graded],
            [column[rows] for column in self.plain],
            self.nodule[rows],
        )


@dataclasses.dataclass(frozen=True)
class Compared:
    """P properties that are known of queries and of the gallery, and how they are compared."""

    names: tuple[str, ...]
    scales: np.ndarray
    """float64 [P]: difference from which on the gain is 0; of the natural logarithm for properties
    that are compared on it."""
    weights: np.ndarray
    """float64 [P]: weights in `similarity`."""
    one: np.ndarray
    """int64 [P]: the gain 1, and a difference of one scale, in the fixed point of `graded`."""
    units: np.ndarray
    """float64 [P]: value of the last digit of `plain`."""
    queries: Values
    gallery: Values

    @classmethod
    def of(cls, queries: Embedded, gallery: Embedded, settings: Settings) -> "Compared":
        """Choose the properties known of both sides, and put both on one scale.

        The scale of a property is that of the settings, or the standard deviation over the nodules
        of the gallery. A property without any difference there is left out, and so is one whose
        column would have the name of another metric.
        """
        sides = [_nodules(side) for side in (queries, gallery)]
        known = [
            _columns(side, nodule) for side, nodule in zip((queries, gallery), sides, strict=True)
        ]
        parts: list[_Part] = []
        for name in sorted(set(known[0]) & set(known[1]), key=vocabulary.property_order):
            part = _Part.of(name, known[0][name], known[1][name], settings.scales.get(name))
            if part is not None and not _reserved(name):
                parts.append(part)
        names = tuple(part.name for part in parts)
        return cls(
            names=names,
            scales=np.array([part.scale for part in parts]),
            weights=np.array([settings.weights.get(name, 1.0) for name in names]),
            one=np.array([part.one for part in parts], np.int64),
            units=np.array([part.unit for part in parts]),
            queries=_values([part.queries for part in parts], sides[0]),
            gallery=_values([part.gallery for part in parts], sides[1]),
        )

    def described(self) -> dict[str, dict[str, float]]:
        """`scale` and `weight` by property."""
        return {
            name: {"scale": float(scale), "weight": float(weight)}
            for name, scale, weight in zip(self.names, self.scales, self.weights, strict=True)
        }

    def wanted(
        self, rows: slice, *, excluded: np.ndarray, relevance: np.ndarray, k: int
    ) -> "Wanted":
        """The queries `rows`, prepared for scoring.

        Args:
          rows: q queries.
          excluded: bool [q, N].
          relevance: bool [q, N]: the item's class is the query's.
          k: length of the result list.
        """
        part = dataclasses.replace(self, queries=self.queries.rows(rows))
        return Wanted(part, part._ideals(excluded, k), graded.tied(relevance & ~excluded, k))

    def _ideals(self, excluded: np.ndarray, k: int) -> np.ndarray:
        """Discounted gain of the best possible first k, float64 [P, q]; 0 for unknown queries."""
        out = np.zeros((len(self.names), len(excluded)))
        for at, one in enumerate(self.one):
            rows = np.flatnonzero(self.queries.known[at])
            gains = self.gallery.graded[at] - self.queries.graded[at][rows, None]
            np.abs(gains, out=gains)
            np.subtract(one, gains, out=gains)
            gains[(gains < 0) | excluded[rows] | ~self.gallery.known[at]] = 0
            out[at, rows] = graded.ideal_gain(gains, k) / one
        return out


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What q queries look for."""

    compared: Compared
    ideals: np.ndarray
    """float64 [P, q], from `Compared._ideals`."""
    same_class: graded.Top
    """A random order of the items of each query's class."""


def scores(ranking: str, top: graded.Top, wanted: Wanted) -> dict[str, np.ndarray]:
    """Scores of the first k of one ranking by column, each float64 [q], NaN where undefined.

    They are `difference_<property>`, `ndcg_<property>` and `similarity`; those of `RANDOM` also
    have a random order of the query's own class, with the prefix `vocabulary.CLASS_PREFIX`.
    """
    out = _scores(top, wanted)
    if ranking == RANDOM:
        inside = _scores(wanted.same_class, wanted)
        out |= {f"{vocabulary.CLASS_PREFIX}{name}": values for name, values in inside.items()}
    return out


def _scores(top: graded.Top, wanted: Wanted) -> dict[str, np.ndarray]:
    """The expected values over all orders of ties.

    `difference` is the expected sum of |difference| of the known items, divided by their expected
    number. `ndcg` has the gain max(0, 1 - |difference| / scale), 0 if unknown. `similarity` is the
    mean over items of the weighted mean gain over all properties known of both; items without any
    such property do not count, and a normal item counts 0.
    """
    both, shares = wanted.compared, graded.shares(top)
    items, counts = top.items, np.diff(top.first)
    out: dict[str, np.ndarray] = {}
    total, weight = np.zeros(len(items)), np.zeros(len(items))
    for at, name in enumerate(both.names):
        asked, known = both.queries.known[at], both.gallery.known[at][items]
        one = int(both.one[at])
        gaps = _gaps(both.queries.graded[at], both.gallery.graded[at], items, counts)
        gains = np.where(known, np.maximum(one - gaps, 0), 0)
        plain = gaps
        if both.gallery.plain[at] is not both.gallery.graded[at]:
            plain = _gaps(both.queries.plain[at], both.gallery.plain[at], items, counts)
        number = shares.expected(known)
        apart = shares.expected(np.where(known, plain, 0)) * both.units[at]
        difference, ndcg = vocabulary.property_metrics(name)
        out[difference.column] = np.where(asked, metrics.ratio(apart, number), np.nan)
        found = shares.discounted(gains) / one
        out[ndcg.column] = np.where(asked, metrics.ratio(found, wanted.ideals[at]), np.nan)
        if both.weights[at] > 0:
            share = both.weights[at] * np.repeat(asked, counts)
            total += gains * (share / one)
            weight += known * share
    out["similarity"] = _similarity(total, weight, top, wanted, shares)
    return out


def _gaps(
    queries: np.ndarray, gallery: np.ndarray, items: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """|difference| of the candidates, int64 [C]."""
    gaps = gallery[items]
    gaps -= np.repeat(queries, counts)
    return np.abs(gaps, out=gaps)


def _similarity(
    total: np.ndarray, weight: np.ndarray, top: graded.Top, wanted: Wanted, shares: graded.Shares
) -> np.ndarray:
    """Expected mean similarity of the first k, float64 [q].

    Args:
      total: float64 [C], weighted sum of the gains of each candidate.
      weight: float64 [C], sum of the weights that are known of query and candidate.
      top, wanted, shares: the candidates, the queries, and the places of the candidates.
    """
    both = wanted.compared
    counts = weight > 0
    gains = np.divide(total, weight, out=np.zeros_like(total), where=counts)
    counts |= ~both.gallery.nodule[top.items]
    digits = _digits(len(both.gallery.nodule))
    number = shares.expected(counts)
    mean = metrics.ratio(
        np.ldexp(shares.expected(np.rint(np.ldexp(gains, digits)).astype(np.int64)), -digits),
        number,
    )
    asked = (both.queries.known & (both.weights[:, None] > 0)).any(axis=0)
    return np.where(asked, mean, np.nan)


# --- preparing values -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Part:
    """One property of both sides."""

    name: str
    scale: float
    one: int
    unit: float
    queries: tuple[np.ndarray, np.ndarray, np.ndarray]
    """Known, graded and plain, as in `Values`."""
    gallery: tuple[np.ndarray, np.ndarray, np.ndarray]

    @classmethod
    def of(
        cls, name: str, queries: np.ndarray, gallery: np.ndarray, scale: float | None
    ) -> "_Part | None":
        """A property with the values [Q] and [N]; None if it does not differ in the gallery."""
        logarithmic = vocabulary.find_property(name).logarithmic
        known = [np.isfinite(side) for side in (queries, gallery)]
        plain = [
            np.where(there, side, 0.0)
            for there, side in zip(known, (queries, gallery), strict=True)
        ]
        measured = plain
        if logarithmic:
            measured = [
                np.log(np.where(there, side, 1.0)) for there, side in zip(known, plain, strict=True)
            ]
        # Sorted, because the last digits of a sum follow its order.
        archive = np.sort(measured[1][known[1]])
        if archive[0] == archive[-1]:
            return None
        scale = float(archive.std()) if scale is None else scale
        largest = max(float(np.abs(side).max()) for side in measured)
        digits = _digits(len(gallery), 2.0 * largest / scale)
        fixed = [_fixed(side / scale, digits) for side in measured]
        one, unit, exact = 1 << digits, math.ldexp(scale, -digits), fixed
        if logarithmic:
            most = max(float(np.abs(side).max()) for side in plain)
            digits = _digits(len(gallery), 2.0 * most)
            exact, unit = [_fixed(side, digits) for side in plain], math.ldexp(1.0, -digits)
        ours, theirs = zip(known, fixed, exact, strict=True)
        return cls(name, scale, one, unit, ours, theirs)


def _digits(items: int, largest: float = 1.0) -> int:
    """Binary digits after the point with which a sum of `items` numbers cannot overflow int64."""
    return max(0, min(50, 62 - items.bit_length() - max(0, math.frexp(largest)[1])))


def _fixed(values: np.ndarray, digits: int) -> np.ndarray:
    """Numbers in fixed point, int64."""
    return np.rint(np.clip(np.ldexp(values, digits), -(2.0**61), 2.0**61)).astype(np.int64)


def _values(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], nodule: np.ndarray
) -> Values:
    known = np.array([part[0] for part in parts], bool).reshape(len(parts), len(nodule))
    return Values(known, [part[1] for part in parts], [part[2] for part in parts], nodule)


def _nodules(side: Embedded) -> np.ndarray:
    """Which items are nodules: those of a class above 0, or with a diameter; bool [N]."""
    return (np.asarray(side.labels) > 0) | (np.asarray(side.diameters_mm) > 0)


def _columns(side: Embedded, nodule: np.ndarray) -> Mapping[str, np.ndarray]:
    """Properties [N] of which any value is known, NaN for normal items."""
    found = {}
    for name, column in (side.properties or {}).items():
        values = np.where(nodule, np.asarray(column, np.float64), np.nan)
        if vocabulary.find_property(name).logarithmic:
            values[~(values > 0)] = np.nan
        if np.isfinite(values).any():
            found[name] = np.where(np.isfinite(values), values, np.nan)
    return found


def _reserved(name: str) -> bool:
    columns = {one.column for one in vocabulary.metrics()}
    return any(one.column in columns for one in vocabulary.property_metrics(name))
