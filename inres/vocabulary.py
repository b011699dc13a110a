"""Size classes, rankings, metrics and the paper's numbers: one row for each.

Everything that lists, names or orders them reads these tables. Nothing here computes anything.
"""

import dataclasses
import functools
import math

# --- size classes -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SizeClass:
    """One class of nodule diameters (paper, Table 2)."""

    name: str
    from_mm: float
    """Smallest diameter of the class in mm; the class ends where the next one begins."""
    paper_items: int
    """Number of items in the paper's Table 2."""
    paper_score: float
    """Score in percent in the paper's Table 3."""


SIZE_CLASSES = (
    SizeClass("=0", 0.0, 1000, 84.6),  # no nodule
    SizeClass("0~5", 0.0, 270, 77.5),
    SizeClass("5~6", 5.0, 232, 76.5),
    SizeClass("6~8", 6.0, 276, 73.8),
    SizeClass("8~13", 8.0, 234, 76.7),
    SizeClass("13~18", 13.0, 100, 65.7),
    SizeClass("18~23", 18.0, 55, 52.1),
    SizeClass(">23", 23.0, 19, 52.0),
)
"""The classes by label, 0 to 7."""

CLASS_NAMES = tuple(one.name for one in SIZE_CLASSES)
CLASS_EDGES_MM = tuple(one.from_mm for one in SIZE_CLASSES[2:])
"""Inner edges of the nodule classes 1 to 7."""

PAPER_SEARCH_PRECISION = 0.73
"""Retrieval precision (paper, section 5)."""
PAPER_SETTING = "on LUNA16 and a leaking split"
"""Data and split of the paper's scores: its random split of slices puts slices of one scan on both
sides, so they are no target for other data or another split."""


# --- properties ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Property:
    """A number that describes a nodule, other than its class."""

    name: str
    """Column of the item table."""
    title: str
    low: float
    """Least possible value."""
    high: float
    """Largest possible value."""
    unit: str = ""
    ends: str = ""
    """What the least and the largest value mean."""
    logarithmic: bool = False
    """Learned and compared on a logarithmic scale; the value 0 then means that there is none.
    Differences are shown in units."""
    digits: int = 2
    """Decimal places in tables."""
    location: bool = False
    """Whether it describes the place in the lungs, which items without a nodule have too. Images of
    items do not show it, so `auto` in `config.properties.names` leaves it out, but it can be named,
    and is evaluated like all."""


def _rating(name: str, ends: str, *, high: float = 5.0) -> Property:
    return Property(name, name.replace("_", " "), 1.0, high, ends=ends, digits=1)


LARGEST_NUMBER = 2**31 - 1
"""Largest number of a class or fold."""
SMALLEST_MM = 0.5
"""Least diameter that is taken for millimetres: CT does not show smaller findings."""
LARGEST_MM = 200.0
"""Largest diameter that is taken for millimetres: no finding in a lung is larger."""

PROPERTIES = (
    Property("diameter_mm", "diameter", 0.0, LARGEST_MM, unit="mm", logarithmic=True, digits=1),
    _rating("malignancy", "highly unlikely to highly suspicious"),
    _rating("texture", "ground glass to solid"),
    _rating("spiculation", "none to marked"),
    _rating("lobulation", "none to marked"),
    _rating("margin", "poorly defined to sharp"),
    _rating("sphericity", "linear to round"),
    _rating("calcification", "popcorn to absent", high=6.0),
    _rating("subtlety", "extremely subtle to obvious"),
    Property(
        *("lung_side", "side", -1.0, 1.0),
        ends="right (-1) to left (1)",
        digits=0,
        location=True,
    ),
    Property(
        *("lung_height", "height in the lungs", 0.0, 1.0),
        ends="base (0) to apex (1)",
        location=True,
    ),
    Property(
        *("pleura_mm", "distance to the pleura", 0.0, math.inf),
        unit="mm",
        digits=1,
        location=True,
    ),
)
"""Known properties, in the order of tables: diameter, the mean ratings of the LIDC's readers, and
the location. An item table may hold others."""


def property_order(name: str) -> tuple[int, str]:
    """Sorts properties: known ones in the order of tables, then all others by name."""
    known = [one.name for one in PROPERTIES]
    return known.index(name) if name in known else len(known), name


@functools.cache
def find_property(name: str) -> Property:
    """The property of that name; one without limits if it is not known."""
    known = {one.name: one for one in PROPERTIES}
    return known.get(name, Property(name, name.replace("_", " "), -math.inf, math.inf))


def out_of_range(name: str, value: float) -> str:
    """What is wrong with a value that its property cannot have, else empty; NaN is unknown."""
    one = find_property(name)
    if not (value < one.low or value > one.high):
        return ""
    known = f"{one.low:g} to {one.high:g}" if one.high < math.inf else f"{one.low:g} or more"
    other_unit = f" {one.unit} (is it in another unit?)" if value > one.high and one.unit else ""
    return f"{name} is {value:g}; must be {known}{other_unit}"


SIMILAR_SD = 0.5
"""Two items are similar in a property if they differ by less than this many standard deviations."""
DIFFERENT_SD = 0.8
"""From this many on they are not similar: by about sqrt(2 / pi) = 0.8 standard deviations, random
items differ from an average one (mean absolute deviation of a normal distribution)."""


# --- rankings -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Ranking:
    """One way to order the archive for a query."""

    name: str
    """Key in `metrics.json` and `per_query.npz`."""
    title: str
    note: str
    """What the ranking goes by, in a few words."""
    is_search: bool = False
    """Part of the search under test; all other rankings are what it is compared with."""


RANKINGS = (
    Ranking(
        "two_stage",
        "two-stage search",
        "pool by fine distance, then the rest by Hamming distance",
        is_search=True,
    ),
    Ranking("hamming", "Hamming distance", "codes only", is_search=True),
    Ranking("images_code", "codes of images alone", "archive encoded without its records"),
    Ranking("latent", "H at 0.5 (paper)", "codes only, without the learned rotation"),
    Ranking("alone", "one slice alone", "codes only, without the other slices of a query"),
    Ranking("joined", "joined features", "all items by class, properties and FC1"),
    Ranking("images", "joined, images alone", "archive encoded without its records"),
    Ranking("fc1", "FC1", "all items by Euclidean distance"),
    Ranking("fc2", "FC2 (hash layer)", "activations before binarization"),
    Ranking("fc3", "FC3", "logits"),
    Ranking("fc1_fc3", "FC1+FC3", "both features joined"),
    Ranking("embedding", "vectors given", "all items by Euclidean distance"),
    Ranking("softmax", "softmax", "probability that both are of one class, by FC3"),
    Ranking("predicted_class", "predicted class", "same argmax of FC3 first"),
    Ranking("itq_fc1", "PCA+ITQ on FC1", "label-free code, fitted on training items"),
    Ranking("lsh_fc1", "LSH on FC1", "random hyperplanes"),
    Ranking("itq_embedding", "PCA+ITQ on the vectors", "label-free code, fitted on training items"),
    Ranking("lsh_embedding", "LSH on the vectors", "random hyperplanes"),
    Ranking("pixels", "raw pixels", "no network"),
    Ranking("hog", "HOG", "histograms of oriented gradients, no network"),
    Ranking("itq_pixels", "PCA+ITQ on pixels", "label-free code, no network"),
    Ranking("lsh_pixels", "LSH on pixels", "random hyperplanes, no network"),
    Ranking("chance", "chance", "random order"),
)
"""All rankings, in the order of tables. A ranking whose features are missing is left out."""


def ranking_names() -> tuple[str, ...]:
    """Names of all rankings, in the order of tables."""
    return tuple(one.name for one in RANKINGS)


def ranking(name: str) -> Ranking:
    """The ranking of that name.

    Raises:
      ValueError: there is none.
    """
    for one in RANKINGS:
        if one.name == name:
            return one
    raise ValueError(f"unknown ranking {name!r}; known are {', '.join(ranking_names())}")


# --- metrics ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Mean:
    """One number of a ranking: the mean of a metric over queries."""

    key: str
    """Key in `metrics.json`; `{k}` stands for the length of the result list."""
    title: str
    """Short title for a table's column."""
    macro: bool
    """True: mean over classes of the class means. False: mean over queries."""
    explanation: str = ""
    in_report: bool = True
    """Has a column in the report."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """One value per query and ranking."""

    column: str
    """Column in `per_query.npz`."""
    title: str
    means: tuple[Mean, ...] = ()
    """The numbers under `rankings` in `metrics.json`."""
    unit: str = ""
    lower_is_better: bool = False
    digits: int = 3
    """Decimal places in tables."""
    within_class: bool = False
    """Also measured among the items of the query's own class, as `class_<column>`; similarity only
    for a random order."""


CLASS_PREFIX = "class_"
"""Prefix of the columns that are measured within the query's own class."""


def _mean(key: str, title: str, explanation: str, *, macro: bool = True) -> tuple[Mean, ...]:
    return (Mean(key, title, macro, explanation),)


def _tie_orders(column: str, title: str, key: str, short: str) -> tuple[Metric, ...]:
    """The same metric for the least and the most favourable order of ties."""
    return tuple(
        Metric(
            f"{column}_{order}",
            f"{title}, {order} order of ties",
            (Mean(f"{key}_{order}", f"{short}, {order} ties", macro=True, in_report=False),),
        )
        for order in ("worst", "best")
    )


METRICS = (
    Metric("relevant", "relevant items in the archive", digits=0),
    Metric(
        "average_precision",
        "average precision",
        (
            Mean("map_macro", "macro mAP", True, "mean average precision, mean over classes"),
            Mean("map_micro", "micro mAP", False, "mean average precision, mean over queries"),
        ),
    ),
    *_tie_orders("average_precision", "average precision", "map_macro", "macro mAP"),
    Metric(
        "average_precision_at_r",
        "average precision at R",
        _mean(
            "map_at_r_macro",
            "macro mAP@R",
            "over the first R ranks, where R is the number of the query's relevant items",
        ),
    ),
    Metric(
        "average_precision_at_1000",
        "average precision at 1000",
        _mean("map_at_1000_macro", "macro mAP@1000", "over the first 1000 ranks"),
    ),
    Metric(
        "precision",
        "precision",
        (
            Mean(
                "precision_at_{k}_macro",
                "macro P@{k}",
                True,
                "precision of the first {k} results, mean over classes",
            ),
            Mean(
                "precision_at_{k}_micro",
                "micro P@{k}",
                False,
                "precision of the first {k} results, mean over queries",
            ),
        ),
    ),
    *_tie_orders("precision", "precision", "precision_at_{k}_macro", "macro P@{k}"),
    *(
        Metric(
            f"precision_at_{depth}",
            f"precision at {depth}",
            _mean(
                f"precision_at_{depth}_macro",
                f"macro P@{depth}",
                f"precision of the first {words}, mean over classes",
            ),
        )
        for depth, words in ((1, "result"), (5, "five results"))
    ),
    Metric(
        "recall",
        "recall",
        _mean("recall_at_{k}", "macro R@{k}", "recall of the first {k} results, mean over classes"),
    ),
    *_tie_orders("recall", "recall", "recall_at_{k}", "macro R@{k}"),
    *(
        Metric(
            f"recall_at_{depth}",
            f"recall at {depth}",
            (Mean(f"recall_at_{depth}", f"macro R@{depth}", macro=True, in_report=False),),
        )
        for depth in (1, 5)
    ),
    Metric(
        "ndcg",
        "nDCG",
        _mean("ndcg_at_{k}", "macro nDCG@{k}", "graded by class difference, mean over classes"),
    ),
    *_tie_orders("ndcg", "nDCG", "ndcg_at_{k}", "macro nDCG@{k}"),
    Metric(
        "ndcg_mm",
        "nDCG by diameter",
        _mean(
            "ndcg_mm_at_{k}",
            "macro nDCG@{k} mm",
            "graded by diameter difference, mean over classes",
        ),
    ),
    Metric(
        "ndcg_points",
        "nDCG by points of malignancy",
        _mean(
            "ndcg_malignancy_at_{k}",
            "nDCG@{k} mal.",
            "graded by the difference of malignancy ratings, mean over queries",
            macro=False,
        ),
    ),
    Metric(
        "diameter_error_mm",
        "diameter error",
        _mean(
            "diameter_error_mm_at_{k}",
            "mm@{k}",
            "mean diameter difference of the first {k} results in mm, for nodule queries",
            macro=False,
        ),
        unit="mm",
        lower_is_better=True,
        digits=2,
        within_class=True,
    ),
    Metric(
        "malignancy_error",
        "malignancy error",
        _mean(
            "malignancy_error_at_{k}",
            "mal. error@{k}",
            "mean difference of malignancy ratings (1 to 5) of the first {k} results",
            macro=False,
        ),
        lower_is_better=True,
        digits=2,
        within_class=True,
    ),
    Metric(
        "malignancy_agreement",
        "malignancy agreement",
        _mean(
            "malignancy_agreement_at_{k}",
            "mal. agree@{k}",
            "share of the first {k} results on the query's side of malignancy (rating 3 left out)",
            macro=False,
        ),
        within_class=True,
    ),
    Metric(
        "similarity",
        "similarity",
        _mean(
            "similarity_at_{k}",
            "similarity@{k}",
            "mean similarity of the first {k} results in all known properties, for nodule queries",
            macro=False,
        ),
        within_class=True,
    ),
    Metric("search_precision", "search precision (the paper's)"),
    Metric("pool_size", "size of the candidate pool", unit="items", digits=0),
    Metric("precision_in_radius", "precision within Hamming radius 2"),
    Metric("correct", "accuracy of FC3"),
    Metric(
        "matched_slices_error",
        "share of the class ranked before another slice of the same nodule",
        lower_is_better=True,
    ),
)
"""All metrics, in the order of tables."""


def property_metrics(name: str) -> tuple[Metric, Metric]:
    """Difference and nDCG by one property, which may be any column of numbers."""
    one = find_property(name)
    return (
        Metric(
            f"difference_{name}",
            f"difference in {one.title}",
            unit=one.unit,
            lower_is_better=True,
            digits=2,
            within_class=True,
        ),
        Metric(f"ndcg_{name}", f"nDCG by {one.title}", within_class=True),
    )


def _within_class(one: Metric) -> Metric:
    """The same metric among the items of the query's own class."""
    return dataclasses.replace(
        one,
        column=f"{CLASS_PREFIX}{one.column}",
        title=f"{one.title} within the class",
        means=(),
        within_class=False,
    )


def metrics() -> tuple[Metric, ...]:
    """All metrics, including those within the query's own class; those of properties are aside."""
    return (*METRICS, *(_within_class(one) for one in METRICS if one.within_class))


def metric(column: str) -> Metric:
    """The metric with that column in `per_query.npz`; of a property if none has that name.

    Raises:
      ValueError: there is none.
    """
    known = {one.column: one for one in metrics()}
    if column in known:
        return known[column]
    plain = column.removeprefix(CLASS_PREFIX)
    name = plain.partition("_")[2]
    for one in property_metrics(name):
        if name and one.column == plain:
            return one if plain == column else _within_class(one)
    raise ValueError(
        f"unknown metric {column!r}; known are {', '.join(known)}, and difference_NAME and "
        "ndcg_NAME of any property"
    )


def means() -> tuple[tuple[Metric, Mean], ...]:
    """All numbers of a ranking, each with its metric, in the order of `metrics.json`."""
    return tuple((one, mean) for one in METRICS for mean in one.means)


def mean_title(column: str, *, macro: bool, k: int = 10) -> str:
    """Title of a mean of a metric, such as `macro P@10`; the metric's title if it has no such mean.

    Args:
      column: of the metric.
      macro: which of its means.
      k: length of the result list.

    Raises:
      ValueError: there is no such metric.
    """
    one = metric(column)
    for mean in one.means:
        if mean.macro == macro:
            return mean.title.format(k=k)
    return f"macro {one.title}" if macro else one.title
