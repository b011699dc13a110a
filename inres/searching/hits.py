"""What a search returns: the query, and its nearest items with their records."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np

from inres import vocabulary


@dataclasses.dataclass(frozen=True)
class Query:
    """A query as the network sees it. Unknown text is empty, unknown numbers are NaN."""

    name: str
    image: np.ndarray = dataclasses.field(repr=False)
    """uint8 [S, S], its own slice."""
    predicted: int
    """Class predicted by FC3."""
    scan: str = ""
    label: int = -1
    """Class, -1 if unknown."""
    diameter_mm: float = float("nan")
    notes: tuple[str, ...] = ()
    """Messages about how it was prepared."""
    properties: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Properties as the network estimates them from the image, in their units. If it predicts that
    there is no nodule, only those of the location."""
    known: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Properties that the item table knows, if the query is an item. They do not affect the
    search."""


VERDICTS = ("similar", "partly", "different", "unknown")


def verdict(difference: float) -> str:
    """How similar a query and a hit are in a property, one of `VERDICTS`.

    Args:
      difference: in standard deviations, NaN where unknown; the limits are
        `vocabulary.SIMILAR_SD` and `vocabulary.DIFFERENT_SD`.
    """
    if difference != difference:
        return "unknown"
    if difference < vocabulary.SIMILAR_SD:
        return "similar"
    return "partly" if difference < vocabulary.DIFFERENT_SD else "different"


@dataclasses.dataclass(frozen=True)
class Respect:
    """A property of a query and of one hit, NaN where unknown."""

    name: str
    query: float
    """The query's estimate."""
    item: float
    """What the record of the hit knows."""
    difference_sd: float
    """Absolute difference in standard deviations."""

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        return verdict(self.difference_sd)


@dataclasses.dataclass(frozen=True)
class Hit:
    """One item that was found."""

    rank: int
    """From 1."""
    record: Mapping[str, Any]
    """The item's record: `item`, `image`, `scan`, `nodule`, `label`, `diameter_mm` and others."""
    hamming: int
    """Hamming distance of the codes, bits."""
    distance: float
    """Euclidean distance of the features; NaN if ranked by Hamming distance alone. In a search by
    weights, the root mean square difference of the weighted properties (`searching.weighted`)."""
    image: np.ndarray = dataclasses.field(repr=False)
    """uint8 [S, S], the item as the network sees it."""
    properties: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Properties that the item's record knows, in their units."""
    differences: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Absolute difference to the query's estimate of each property that both have, in standard
    deviations of the property (of its logarithm where it is logarithmic)."""

    def respects(self, query: Query, names: Sequence[str]) -> tuple[Respect, ...]:
        """The properties `names` next to those of the query."""
        unknown = float("nan")
        return tuple(
            Respect(
                name,
                query.properties.get(name, unknown),
                self.properties.get(name, unknown),
                self.differences.get(name, unknown),
            )
            for name in names
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Hits(Sequence[Hit]):
    """The items found for one query, nearest first."""

    query: Query
    hits: tuple[Hit, ...]
    pool_size: int
    """Items in the pool. In a search by weights: items whose weighted properties are all known or
    estimated."""
    threshold: int
    """Hamming threshold of the pool: items differ in fewer bits. In a search by weights, one more
    than the number of bits."""
    own_scan_excluded: bool
    """Whether the query's scan is known in the archive and its items were left out."""

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)

    def __repr__(self) -> str:
        return f"<Hits: {len(self)} of a pool of {self.pool_size}, for {self.query.name}>"

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    @property
    def mean_differences(self) -> dict[str, float]:
        """`Hit.differences` of each property, averaged over the hits that have it."""
        apart: dict[str, list[float]] = {name: [] for name in self.query.properties}
        for hit in self.hits:
            for name, difference in hit.differences.items():
                apart[name].append(difference)
        return {name: float(np.mean(values)) for name, values in apart.items() if values}

    @property
    def summary(self) -> str:
        """In which respects the hits are similar to the query on average; empty if unknown."""
        by: dict[str, list[str]] = {name: [] for name in VERDICTS}
        for name, difference in self.mean_differences.items():
            by[verdict(difference)].append(name)
        words = {"similar": "similar", "partly": "partly similar", "different": "not similar"}
        return "; ".join(f"{text} in {_titles(by[one])}" for one, text in words.items() if by[one])


def _titles(names: Sequence[str]) -> str:
    return ", ".join(vocabulary.find_property(name).title for name in names)


RANKS = ("euclidean", "hamming")
DISTINCT = ("", "nodule", "scan")


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """What a search returns, and from which pool."""

    k: int = 10
    """Number of results."""
    threshold: int = 3
    """The pool: items with a Hamming distance below this many bits."""
    min_pool: int = 0
    """Raise the threshold of a query until its pool has at least this many items; 0: never."""
    nearest: int = 0
    """The pool is this many nearest codes, whatever the threshold; 0: use the threshold."""
    rank: str = "euclidean"
    """Rank the pool by `euclidean` distance, or all items by `hamming` distance alone (`distance`
    is then NaN)."""
    same_class: bool = False
    """Only items of the class predicted for the query (paper, section 4.2)."""
    distinct: str = ""
    """Return each `nodule` or each `scan` once, by its nearest item; empty: every item."""
    where: str = ""
    """Only items whose record meets this SQL condition, for example
    `diameter_mm BETWEEN 5 AND 8 AND malignancy >= 4`."""
    own_scan: bool = False
    """Also return items of the query's own scan."""
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict, hash=False)
    """Weights of properties, for example `{"texture": 1, "margin": 2}`; only their ratios matter.
    All items are then ranked by the weighted difference of these properties to the query's
    estimates, regardless of class, code and features. There is no pool, so `threshold`, `min_pool`,
    `nearest` and `rank` must be left at their defaults. Empty: no weights."""

    def __post_init__(self) -> None:
        for name, least in (("k", 1), ("threshold", 1), ("min_pool", 0), ("nearest", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name} = {value!r}: must be a whole number of at least {least}")
        for name in ("same_class", "own_scan"):
            value = getattr(self, name)
            if not isinstance(value, bool | np.bool_):
                raise ValueError(f"{name} = {value!r}: must be True or False")
        if not isinstance(self.where, str):
            raise ValueError(
                f"where = {self.where!r}: must be an SQL condition as text, for example "
                "'diameter_mm > 8'; empty for every item"
            )
        for name, choices in (("rank", RANKS), ("distinct", DISTINCT)):
            value = getattr(self, name)
            if not isinstance(value, str) or value not in choices:
                raise ValueError(
                    f"{name} = {value!r}: must be one of " + ", ".join(map(repr, choices))
                )
        if not isinstance(self.weights, Mapping):
            raise ValueError(
                f"weights = {self.weights!r}: must be a mapping of properties to numbers, for "
                "example {'texture': 1, 'margin': 2}"
            )
        if self.weights:
            self._require_no_pool()
        if self.nearest and self.min_pool:
            raise ValueError(
                f"min_pool = {self.min_pool}: must be 0, because nearest = {self.nearest} sets the "
                "pool"
            )

    def _require_no_pool(self) -> None:
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name in ("threshold", "min_pool", "nearest", "rank"):
            if getattr(self, name) != defaults[name]:
                raise ValueError(
                    f"{name} = {getattr(self, name)!r}: leave it out, because weights rank all "
                    "items without a pool"
                )
