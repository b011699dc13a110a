"""Cards of the report: the few numbers that matter, each with what to compare it with."""

from inres import vocabulary
from inres.report import page
from inres.report.run import Run

SCORES = {
    "map_macro": "Macro mAP, two-stage",
    "ndcg_at_10": "nDCG@10 by class",
    "diameter_error_mm_at_10": "Diameter error, top 10",
    "malignancy_agreement_at_10": "Malignancy agreement, top 10",
}
"""Labels of the cards for numbers of the two-stage search, by key in `metrics.json`."""
BASELINES = ("softmax", "predicted_class", "pixels", "chance")
"""Rankings whose numbers are shown for comparison."""


def cards(run: Run) -> str:
    """All cards; those without a number are left out."""
    shown = [_search_precision(run), *(_score(run, key) for key in SCORES)]
    shown += [_pool(run), _classification(run), _segmentation(run)]
    return f'<div class="cards">{"".join(shown)}</div>'


def _search_precision(run: Run) -> str:
    """The paper's own measure."""
    return page.card(
        "Search precision, top 10",
        page.number(run.metrics.get("paper", {}).get("search_precision"), 2),
        page.between(run.ends("paper", "search_precision"), 2),
        f"paper {vocabulary.PAPER_SEARCH_PRECISION}, {vocabulary.PAPER_SETTING}"
        if run.paper_classes
        else "",
        _baselines(run, "precision_at_10_micro", 2),
        page.empty_pools(run.metrics.get("pool")),
    )


def _score(run: Run, key: str) -> str:
    """One number of the two-stage search."""
    value = run.ranking("two_stage", key)
    if value is None:
        return ""
    metric = next(one for one, mean in vocabulary.means() if mean.key.format(k=10) == key)
    unit = f" {metric.unit}" if metric.unit else ""
    return page.card(
        SCORES[key],
        page.number(value, metric.digits) + unit,
        page.between(run.ends("rankings", "two_stage", key), metric.digits, unit),
        _baselines(run, key, metric.digits),
    )


def _baselines(run: Run, key: str, digits: int) -> str:
    """One number of the `BASELINES`, as `raw pixels 0.51 · chance 0.27`."""
    found = [(vocabulary.ranking(name).title, run.ranking(name, key)) for name in BASELINES]
    words = (f"{n}{page.NO_BREAK}{page.number(v, digits)}" for n, v in found if v is not None)
    return " · ".join(words)


def _pool(run: Run) -> str:
    """Size of the candidate pools."""
    pool, items = run.metrics.get("pool"), run.metrics.get("protocol", {}).get("gallery")
    if not pool:
        return ""
    share = f"of {items} items ({page.share(pool['mean_size'] / items)})" if items else ""
    return page.card(
        "Mean candidate pool",
        f"{pool['mean_size']:.0f}",
        share,
        f"{page.share(pool['empty_share'])} of pools are empty",
    )


def _classification(run: Run) -> str:
    """Accuracy of the classifier, next to that of the most frequent class."""
    found = run.metrics.get("classification")
    if not found:
        return ""
    counts = list(run.metrics.get("dataset", {}).get("test", {}).values())
    largest = max(counts, default=0) / max(sum(counts), 1)
    return page.card(
        "Classification accuracy",
        page.number(found["accuracy"], 2),
        page.between(run.ends("classification", "accuracy"), 2),
        f"macro recall {page.number(found['macro_recall'], 2)}",
        f"always the largest class {page.number(largest, 2)}" if sum(counts) else "",
    )


def _segmentation(run: Run) -> str:
    """Overlap of the U-Net's lung masks with those it learned from."""
    found = run.metrics.get("segmentation") or {}
    if found.get("dice") is None:
        return ""
    return page.card(
        "Lung mask Dice (U-Net)",
        page.number(found["dice"], 3),
        f"IoU {page.number(found.get('iou'), 3)}, held-out slices",
    )
