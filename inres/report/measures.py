"""Every measure of every ranking, and how a table names them."""

from collections.abc import Sequence

from inres.evaluation.embedded import RANKINGS
from inres.figures.rankings import RANKING_NAMES
from inres.report import page
from inres.report.run import Run

COLUMNS = (
    ("map_macro", "mAP macro", "mean average precision, mean over classes"),
    ("map_micro", "mAP micro", "mean average precision, mean over queries"),
    ("map_at_r_macro", "mAP@R", "over the first R ranks, R being the query's relevant items"),
    ("map_at_1000_macro", "mAP@1000", "over the first 1000 ranks"),
    ("precision_at_1_macro", "P@1", "precision of the first, mean over classes"),
    ("precision_at_5_macro", "P@5", "precision of the first five, mean over classes"),
    ("precision_at_10_macro", "P@10 macro", "precision of the first ten, mean over classes"),
    ("precision_at_10_micro", "P@10 micro", "precision of the first ten, mean over queries"),
    ("recall_at_10", "R@10", "recall of the first ten, mean over classes"),
    ("ndcg_at_10", "nDCG@10", "graded by class difference, mean over classes"),
    ("ndcg_mm_at_10", "nDCG@10 mm", "graded by diameter difference, mean over classes"),
    (
        "diameter_error_mm_at_10",
        "mm@10",
        "mean diameter difference of the first ten, in mm, for nodule queries",
    ),
    ("ndcg_malignancy_at_10", "nDCG@10 mal.", "graded by the difference of malignancy ratings"),
    (
        "malignancy_error_at_10",
        "mal. error@10",
        "mean difference of malignancy ratings (1 to 5) of the first ten",
    ),
    (
        "malignancy_agreement_at_10",
        "mal. agree@10",
        "share of the first ten on the query's side of malignancy (rating 3 left out)",
    ),
)
SMALLER_IS_BETTER = ("diameter_error_mm_at_10", "malignancy_error_at_10")
_NOTES = {
    "two_stage": "pool by fine distance, then the rest by Hamming distance",
    "hamming": "codes alone",
    "latent": "codes alone, not turned",
    "alone": "codes alone; the query's neighbouring slices left out",
    "fc1": "all items by Euclidean distance",
    "fc2": "activations before binarization",
    "fc3": "logits",
    "fc1_fc3": "both together",
    "embedding": "all items by Euclidean distance",
    "softmax": "chance that both are of one class, by FC3",
    "predicted_class": "same argmax of FC3 first",
    "itq_fc1": "label-free code, fitted on training items",
    "lsh_fc1": "random hyperplanes",
    "itq_embedding": "label-free code, fitted on training items",
    "lsh_embedding": "random hyperplanes",
    "pixels": "no network",
    "hog": "histograms of oriented gradients, no network",
    "itq_pixels": "label-free code, no network",
    "lsh_pixels": "random hyperplanes, no network",
    "chance": "random order",
}


def table(run: Run) -> str:
    """The table of all rankings and measures, the best of each column marked."""
    found = run.metrics.get("rankings", {})
    names = [name for name in RANKINGS if name in found]
    shown = columns(run, names)
    best = {}
    for key, _, _ in shown:
        values = [found[n][key] for n in names if n != "chance" and found[n].get(key) is not None]
        if values:
            best[key] = min(values) if key in SMALLER_IS_BETTER else max(values)
    rows = []
    for name in names:
        cells = [ranking_cell(name)]
        for key, _, _ in shown:
            value = found[name].get(key)
            digits = 2 if key in SMALLER_IS_BETTER else 3
            mark = name != "chance" and value is not None and value == best[key]
            text = page.number(value, digits)
            cells.append(f'<td class="best">{text}</td>' if mark else text)
        low, high = (found[name].get(f"map_macro_{order}") for order in ("worst", "best"))
        cells.append(f"{page.number(low)} to {page.number(high)}")
        rows.append(cells)
    head = [
        "ranking",
        *(f'<abbr title="{page.text(t)}">{page.text(n)}</abbr>' for _, n, t in shown),
    ]
    head.append('<abbr title="macro mAP in the worst and best order of ties">mAP by ties</abbr>')
    missing = [n for k, n, _ in COLUMNS if k not in {c[0] for c in shown}]
    protocol = run.metrics.get("protocol", {})
    without, pairs = (protocol.get(k, 0) for k in ("queries_without_relevant", "excluded_pairs"))
    notes = [
        "Best of each column shaded (chance aside); for errors, smaller is better.",
        "Every figure is the expected value over all orders of equal distances, so it does not "
        "depend on the order of the archive.",
        "Macro: mean over classes; micro: mean over queries; R and nDCG are macro.",
        "A supervised code should beat ranking by predicted class and by softmax.",
        "Items of the query's own scan may be returned here, as in the paper's split."
        if protocol.get("own_scan")
        else f"Items of the query's own scan are never returned ({pairs} pairs left out).",
    ]
    if without:
        notes.append(
            f"{without} queries have no item of their class in the archive; no mean "
            "over rankings contains them."
        )
    if "mm@10" in missing:
        notes.append("Diameters are unknown here, so there is no error in mm.")
    note = f"<p class='note'>{' '.join(notes)}</p>"
    return page.details("Every measure of every ranking", page.table(head, rows)) + note


def ranking_cell(name: str) -> str:
    """A ranking by name, and in small print what it goes by."""
    return f"{page.text(RANKING_NAMES[name])}<small>{page.text(_NOTES[name])}</small>"


def columns(run: Run, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Those of `COLUMNS` that any of these rankings has."""
    return [c for c in COLUMNS if any(run.ranking(name, c[0]) is not None for name in names)]
