"""The one-file HTML report over a whole workdir."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inres import figures, files, further, page
from inres.data import splits
from inres.data.items import CLASS_NAMES, read_table
from inres.evaluation import runs
from inres.evaluation.embedded import RANKINGS
from inres.results import PAPER_COUNTS, PAPER_SCORES

PAPER_PRECISION = 0.73
"""Retrieval precision (paper, section 5)."""
LOST_BELOW = 0.5
"""A nodule counts as lost by a mask that keeps less than this share of its sphere."""


# --- the report -------------------------------------------------------------------------------

_CAPTIONS = {
    "baselines": "Mean average precision of every ranking, the best on top; bars are 95 % "
    "intervals over patients, blue is what is judged. Look whether the blue ones stand above "
    "softmax and predicted class, which use the same labels, and clear of the label-free ones.",
    "precision_recall": "Precision against recall, tie-exact, mean over classes (the paper's "
    "Fig. 8). Look at how far the two-stage search stays above raw pixels and chance, and "
    "whether it beats ranking by predicted class; the diamond is the candidate pool itself. The "
    "shaded span is what ties in the codes leave to the order of the archive.",
    "lookups": "Hamming lookup: all items within a radius, each code from radius 0 at the left; "
    "diamonds mark radius 2. Look for high precision at radius 2 with few empty lookups: a code "
    "that finds nothing is precise about nothing (an empty lookup counts as precision 0).",
    "efficiency": "The paper's claim of efficiency. Left: share of the true ten nearest (by the "
    "fine feature, over the whole archive) that the two-stage search still finds, against what is "
    "left to compare; the label is the Hamming threshold. Right: the same against the measured "
    "time of a query, in batches, on the machine of this run. A steep rise at the left is good.",
    "pools": "What a threshold costs and keeps. Left: a higher threshold finds more (recall) and "
    "empties fewer pools, but lets in other classes (precision). Right: the share of the archive "
    "that the fine stage must then compare.",
    "class_hamming": "Mean Hamming distance between classes. A dark diagonal means codes that "
    "part the classes; for sizes, distances should grow with the distance from the diagonal.",
    "map": "The fine feature in two principal components, fitted on the archive. Look whether "
    "queries (triangles) lie among items of their own colour; what two components do not show, "
    "the rest of the variance may still part.",
    "confusion": "Where the classifier (argmax of FC3) errs. Counts far from the diagonal are "
    "grave; neighbours of the diagonal are often diameters close to a class edge.",
    "samples": "Test items as the network sees them, a row a class, from small to large.",
    "class_counts": "Items of each class in each part. Look for classes with few test items: "
    "their numbers are the least certain, and weigh as much as others in macro means.",
}
_COLUMNS = (
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
_SMALLER_IS_BETTER = ("diameter_error_mm_at_10", "malignancy_error_at_10")
_HEADLINES = (
    *("map_macro", "precision_at_10_macro", "ndcg_at_10"),
    *("diameter_error_mm_at_10", "malignancy_agreement_at_10"),
)
"""Columns of the short table."""
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


def build_report(workdir: Path) -> Path:
    """Write `<workdir>/report.html` from what the stages left in `workdir`.

    The file holds everything (styles, tables, images) and asks for nothing from outside. Parts
    whose files are absent are left out with a sentence.

    Raises:
      FileNotFoundError: there is no `evaluation/metrics.json`.
      ValueError: a file is damaged; the message names it.
    """
    workdir = Path(workdir)
    path = workdir / "evaluation" / "metrics.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run the evaluate stage first")
    run = _Run(
        workdir,
        files.read_json(path),
        _json(workdir / "evaluation" / "curves.json"),
        _galleries(workdir / "evaluation" / "galleries.csv"),
        _json(workdir / "config.json"),
        _json(workdir / "environment.json"),
    )
    sections = [
        ("Against the baselines", "baselines", _against(run)),
        ("Search", "search", _search(run)),
        ("Codes and cost", "codes", _codes(run)),
        ("Classification", "classification", _classification(run)),
        ("Data", "data", _data(run)),
        ("Lungs", "lungs", _lungs(run)),
        ("Training", "training", _training(run)),
        ("Settings", "settings", _settings(run)),
    ]
    links = "".join(f'<a href="#{name}">{title}</a>' for title, name, _ in sections)
    body = "".join(f'<h2 id="{name}">{title}</h2>{text}' for title, name, text in sections)
    title = f"inres: {run.name}"
    document = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<title>{page.text(title)}</title><link rel="icon" href="data:,">'
        f"<style>{page.STYLE}</style></head><body><main>"
        f"<header><h1>Search for similar lung CT slices</h1>{_head(run)}</header>"
        f"{_cards(run)}<nav>{links}</nav>{body}"
        '<footer class="note">Written by inres. For research; not a medical device.</footer>'
        "</main></body></html>\n"
    )
    out = workdir / "report.html"
    files.write_text(out, document)
    return out


@dataclasses.dataclass(frozen=True)
class _Run:
    """What the report is about; absent files are empty."""

    workdir: Path
    metrics: dict[str, Any]
    curves: dict[str, Any]
    galleries: list[dict[str, str]]
    config: dict[str, Any]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.workdir.name)

    @property
    def pdf(self) -> bool:
        """Whether figures are to be PDFs, too."""
        told = self.config or _json(self.workdir / "evaluation" / runs.JUDGED)
        return bool(told.get("pdf", True))

    @property
    def names(self) -> list[str]:
        """Names of the classes."""
        count = max((len(c) for c in self.metrics.get("dataset", {}).values()), default=0)
        return [str(name) for name in self.curves.get("class_names", range(count))]

    @property
    def paper_classes(self) -> bool:
        return self.names == list(CLASS_NAMES)

    def ranking(self, name: str, key: str) -> float | None:
        return self.metrics.get("rankings", {}).get(name, {}).get(key)

    def ends(self, *path: str) -> Sequence[float] | None:
        """An interval of `metrics.json`; None where there is none."""
        found: Any = self.metrics.get("intervals") or {}
        for key in path:
            found = (found or {}).get(key)
        return found


def _json(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.is_file() else {}


def _galleries(path: Path) -> list[dict[str, str]]:
    return files.read_csv(path, ("figure", "name", "scan")) if path.is_file() else []


def _drawn(run: _Run, name: str, figure: Any, caption: str) -> str:
    """Save a figure made for the report beside it, and show it."""
    figures.save(figure, run.workdir / "figures" / name, pdf=run.pdf)
    return page.figure(run.workdir / "figures" / name, caption, wide=True)


def _head(run: _Run) -> str:
    """The run in a line, and its result in a sentence."""
    protocol = run.metrics.get("protocol", {})
    facts = [f"run <b>{page.text(run.name)}</b>"]
    data = run.config.get("data", {})
    if data.get("kind") == "folder":
        facts.append(page.text(Path(str(data.get("root", ""))).name))
    elif data.get("kind"):
        facts.append({"phantom": "synthetic scans", "luna16": "LUNA16"}[data["kind"]])
    if protocol:
        fine = figures.RANKING_NAMES.get(protocol["fine"], protocol["fine"])
        facts.append(f"{protocol['queries']} queries, archive of {protocol['gallery']} items")
        facts.append(
            f"{protocol['bits']}-bit codes, Hamming distance below {protocol['threshold']}, "
            f"then {page.text(fine)}"
        )
    precision = run.metrics.get("paper", {}).get("search_precision")
    chance = run.ranking("chance", "precision_at_10_micro")
    lead = ""
    if precision is not None:
        lead = (
            f'<p class="lead">Of the ten nearest slices found, <b>{page.share(precision)}</b> on '
            "average are of the query's own class"
            + (f"; by chance it would be {page.share(chance)}" if chance is not None else "")
            + (" (the paper reports 73 % on LUNA16)." if run.paper_classes else ".")
            + "</p>"
        )
    return f'<p class="sub">{" · ".join(facts)}</p>{lead}{_leaks(run)}'


def _leaks(run: _Run) -> str:
    """What stands on two sides of the split, beside the scores that it flatters."""
    found = _json(run.workdir / "split" / "leaks.json")
    if not found:
        return ""
    lines = splits.leak_lines(found)
    nothing = "No scan, patient or near-identical image is both in the archive and among queries"
    return f'<p class="note">{page.text(". ".join(lines) or nothing)}.</p>'


def _beside(run: _Run, key: str, digits: int, *names: str) -> str:
    """`chance 0.27 · raw pixels 0.51` for one measure."""
    found = [(figures.RANKING_NAMES[n], run.ranking(n, key)) for n in names]
    words = (f"{n}{page.NO_BREAK}{page.number(v, digits)}" for n, v in found if v is not None)
    return " · ".join(words)


def _cards(run: _Run) -> str:
    """The few numbers that matter, each with what it must be compared with."""
    baselines = ("softmax", "predicted_class", "pixels", "chance")
    cards = [
        page.card(
            "Search precision, top 10",
            page.number(run.metrics.get("paper", {}).get("search_precision"), 2),
            page.between(run.ends("paper", "search_precision"), 2),
            f"paper {PAPER_PRECISION}, on LUNA16" if run.paper_classes else "",
            _beside(run, "precision_at_10_micro", 2, *baselines),
        ),
    ]
    for label, key, digits, unit in (
        ("Macro mAP, two-stage", "map_macro", 3, ""),
        ("nDCG@10 by class", "ndcg_at_10", 3, ""),
        ("Diameter error, top 10", "diameter_error_mm_at_10", 2, " mm"),
        ("Malignancy agreement, top 10", "malignancy_agreement_at_10", 2, ""),
    ):
        value = run.ranking("two_stage", key)
        if value is not None:
            cards.append(
                page.card(
                    label,
                    page.number(value, digits) + unit,
                    page.between(run.ends("rankings", "two_stage", key), digits, unit),
                    _beside(run, key, digits, *baselines),
                )
            )
    pool, items = run.metrics.get("pool", {}), run.metrics.get("protocol", {}).get("gallery")
    if pool:
        of = f" ({page.share(pool['mean_size'] / items)})" if items else ""
        cards.append(
            page.card(
                "Mean candidate pool",
                f"{pool['mean_size']:.0f}",
                f"of {items} items{of}" if items else "",
                f"{page.share(pool['empty_share'])} of pools are empty",
            )
        )
    classification = run.metrics.get("classification")
    if classification:
        counts = list(run.metrics.get("dataset", {}).get("test", {}).values())
        largest = f"always the largest class {page.number(max(counts) / sum(counts), 2)}"
        cards.append(
            page.card(
                "Classification accuracy",
                page.number(classification["accuracy"], 2),
                page.between(run.ends("classification", "accuracy"), 2),
                f"macro recall {page.number(classification['macro_recall'], 2)}",
                largest if sum(counts) else "",
            )
        )
    dice = (run.metrics.get("segmentation") or {}).get("dice")
    if dice is not None:
        cards.append(
            page.card(
                "Lung mask Dice (U-Net)",
                page.number(dice, 3),
                f"IoU {page.number(run.metrics['segmentation'].get('iou'), 3)}, held-out scans",
            )
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _against(run: _Run) -> str:
    """The judged search and every baseline: the numbers that matter, with intervals."""
    folder = run.workdir / "evaluation" / "figures"
    found = run.metrics.get("rankings", {})
    names = [name for name in RANKINGS if name in found]
    columns = [c for c in _COLUMNS if c[0] in _HEADLINES and _anywhere(run, names, c[0])]
    rows = []
    for name in names:
        cells = [_ranking_cell(name)]
        for key, _, _ in columns:
            digits = 2 if key in _SMALLER_IS_BETTER else 3
            ends = run.ends("rankings", name, key)
            small = f"<small>{ends[0]:.{digits}f} to {ends[1]:.{digits}f}</small>" if ends else ""
            cells.append(page.number(found[name].get(key), digits) + small)
        cells.insert(2, _margin(run.ends("margins", name, "map_macro")))
        rows.append(cells)
    head = [
        "ranking",
        *(f'<abbr title="{page.text(t)}">{page.text(n)}</abbr>' for _, n, t in columns),
    ]
    head.insert(2, '<abbr title="mAP of the two-stage search minus this">two-stage minus it</abbr>')
    intervals = run.metrics.get("intervals") or {}
    patients, caution = intervals.get("patients"), intervals.get("caution")
    note = (
        f"Small print: 95 % intervals by bootstrap over {patients} patients (or scans), whose "
        "queries are drawn together; a margin is paired, its p-value that of a sign-flip test by "
        "patient. They say how certain these test items make the numbers, not how another "
        "training run would turn out." + (f" Of this run: {caution}." if caution else "")
        if patients
        else "No intervals were made for this run."
    )
    picture = page.figure(folder / "baselines", _CAPTIONS["baselines"])
    curve = page.figure(folder / "precision_recall", _CAPTIONS["precision_recall"], wide=True)
    table = f"{page.table(head, rows)}<p class='note'>{note}</p>"
    return table + _rankings(run) + _by_nodule(run) + _within_class(run) + picture + curve


def _by_nodule(run: _Run) -> str:
    """The search for whole nodules; nothing where a nodule is one slice."""
    found = run.metrics.get("by_nodule")
    if not found:
        return ""
    rows = []
    for row in found["rankings"]:
        cells = [page.text(figures.RANKING_NAMES[row["ranking"]])]
        for measure in further.NODULE_MEASURES:
            digits = 2 if "error" in measure else 3
            low, high = row[f"{measure}_low"], row[f"{measure}_high"]
            small = "" if low is None else f"<small>{low:.{digits}f} to {high:.{digits}f}</small>"
            cells.append(page.number(row[measure], digits) + small)
        rows.append(cells)
    slices = found["slices"]
    return (
        "<h3>By nodule</h3><p>All slices of a nodule searched together: "
        f"{found['queries']} nodules of {slices[0]} test slices among "
        f"{found['gallery']} of {slices[1]}. Two nodules are as far apart as their "
        "slices are on average.</p>"
        + page.table(["ranking", *further.NODULE_MEASURES.values()], rows)
    )


_WITHIN = {
    "diameter_error_mm": "mm@10",
    "malignancy_error": "mal. error@10",
    "malignancy_agreement": "mal. agree@10",
    "matched_slices": "before a slice of the same nodule",
}
_ORDERS = ("two_stage", "hamming", "fc1", "softmax")


def _within_class(run: _Run) -> str:
    """What some orders say beyond the class."""
    found = [r for r in run.metrics.get("within_class") or () if r["ranking"] in _ORDERS]
    if not found:
        return ""
    rows = []
    for row in found:
        digits = 2 if row["measure"].endswith("error_mm") else 3
        rows.append(
            [
                page.text(figures.RANKING_NAMES[row["ranking"]]),
                page.text(_WITHIN[row["measure"]]),
                page.number(row["value"], digits),
                page.number(row["random"], digits),
                _margin({**row, "value": row["difference"]}),
            ]
        )
    return (
        "<h3>Within a class</h3><p>Each ranking of the items of the query's own class alone, "
        "against a random order of them. The last measure looks among the test items, own scan "
        "included: the share of the class that stands before another slice of the query's "
        "nodule.</p>"
        + page.table(["ranking", "measure", "value", "random order", "difference"], rows)
    )


def _anywhere(run: _Run, names: Sequence[str], key: str) -> bool:
    return any(run.ranking(name, key) is not None for name in names)


def _ranking_cell(name: str) -> str:
    return f"{page.text(figures.RANKING_NAMES[name])}<small>{page.text(_NOTES[name])}</small>"


def _margin(margin: Any) -> str:
    """`+0.021`, its interval and p-value."""
    if not margin or margin.get("value") is None:
        return page.UNKNOWN
    small = ""
    if margin["low"] is not None:
        p = margin["p_value"]
        told = "p &lt; 0.001" if p < 0.001 else f"p = {p:.3f}"
        small = f"<small>{margin['low']:+.3f} to {margin['high']:+.3f}, {told}</small>"
    return f"{margin['value']:+.3f}{small}"


def _search(run: _Run) -> str:
    captions = run.curves.get("captions", {})
    if not captions:
        return "<p>No images were given, so no search is shown.</p>"
    shown = "".join(
        _shot(run, stem) for stem in ("query_normal", "query_nodule") if stem in captions
    )
    if "query_normal" not in captions:
        shown = "<p>This data has no normal items, so only a nodule is shown as query.</p>" + shown
    more = "".join(_shot(run, s) for s in sorted(captions) if s.startswith("query_class"))
    if more:
        shown += page.details("One query of every class", more)
    if "errors" in captions:
        shown += f"<h3>Where it fails</h3>{_shot(run, 'errors')}"
    return shown


def _shot(run: _Run, stem: str) -> str:
    """A panel with the provenance of its images."""
    folder = run.workdir / "evaluation" / "figures"
    rows = [row for row in run.galleries if row["figure"] == stem]
    lines = [
        (
            "query" if row["rank"] == "0" else row["rank"],
            *(page.text(row.get(name, "")) or page.UNKNOWN for name in ("name", "nodule", "scan")),
            page.text(figures.class_title(int(row["label"]), run.names)),
            page.text(f"{float(row['diameter_mm']):.1f}" if row["diameter_mm"] else page.UNKNOWN),
        )
        for row in rows
    ]
    head = ("rank", "file or item", "nodule", "scan", "class", "mm")
    table = (
        page.details("Where these images come from", page.table(head, lines, left=5))
        if rows
        else ""
    )
    return page.figure(folder / stem, run.curves["captions"][stem], wide=True) + table


def _codes(run: _Run) -> str:
    """What the codes are like, what a lookup finds and what a search costs."""
    folder = run.workdir / "evaluation" / "figures"
    statistics, lookup = run.metrics.get("codes", {}), run.metrics.get("lookup", {})
    rows = [
        (
            _ranking_cell(name),
            str(row["bits"]),
            str(row["distinct_codes"]),
            page.number(row["bit_entropy"]),
            page.number(row["bit_correlation"]),
            page.number(lookup[name]["precision_macro"]),
            page.share(lookup[name]["empty_share"]),
        )
        for name, row in statistics.items()
    ]
    head = (
        "code",
        "bits",
        '<abbr title="of the archive\'s items">distinct codes</abbr>',
        '<abbr title="mean over the bits; 1 is best">entropy of a bit</abbr>',
        '<abbr title="mean |r| over pairs of bits; 0 is best">correlation</abbr>',
        '<abbr title="of all items in Hamming radius 2, mean over classes">P in radius 2</abbr>',
        '<abbr title="queries with no item within Hamming radius 2">empty</abbr>',
    )
    drawn = "".join(
        page.figure(folder / stem, _CAPTIONS[stem], wide=True)
        for stem in ("lookups", "efficiency", "pools")
    )
    costs = run.metrics.get("efficiency") or ()
    cost = page.table(
        ("Hamming threshold (less than)", "mean pool", "true ten nearest found", "ms a query"),
        [
            (
                str(row["threshold"]),
                f"{row['mean_pool']:.1f}",
                page.share(row["neighbours_kept"]),
                f"{1e3 * row['seconds_per_query']:.3f}",
            )
            for row in costs
        ],
    )
    pair = page.figure(folder / "class_hamming", _CAPTIONS["class_hamming"]) + page.figure(
        folder / "map", _CAPTIONS["map"]
    )
    cost = f"<h3>Cost of a search</h3>{cost}" if costs else ""
    table = page.table(head, rows) if rows else ""
    return f'{table}{drawn}{cost}<div class="pair">{pair}</div>'


def _rankings(run: _Run) -> str:
    """The table of all rankings and measures, the best of each column marked."""
    found = run.metrics.get("rankings", {})
    names = [name for name in RANKINGS if name in found]
    columns = [c for c in _COLUMNS if _anywhere(run, names, c[0])]
    best = {}
    for key, _, _ in columns:
        values = [found[n][key] for n in names if n != "chance" and found[n].get(key) is not None]
        if values:
            best[key] = min(values) if key in _SMALLER_IS_BETTER else max(values)
    rows = []
    for name in names:
        cells = [_ranking_cell(name)]
        for key, _, _ in columns:
            value = found[name].get(key)
            digits = 2 if key in _SMALLER_IS_BETTER else 3
            mark = name != "chance" and value is not None and value == best[key]
            text = page.number(value, digits)
            cells.append(f'<td class="best">{text}</td>' if mark else text)
        low, high = (found[name].get(f"map_macro_{order}") for order in ("worst", "best"))
        cells.append(f"{page.number(low)} to {page.number(high)}")
        rows.append(cells)
    head = [
        "ranking",
        *(f'<abbr title="{page.text(t)}">{page.text(n)}</abbr>' for _, n, t in columns),
    ]
    head.append('<abbr title="macro mAP in the worst and best order of ties">mAP by ties</abbr>')
    missing = [n for k, n, _ in _COLUMNS if k not in {c[0] for c in columns}]
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


def _classification(run: _Run) -> str:
    """Table 3 and the confusion matrix."""
    found = run.metrics.get("classification")
    if not found:
        return "<p>No FC3 outputs were given, so there is no classification.</p>"
    head = ["class", "test items", "recall", "precision", "F1", "AP"]
    if run.paper_classes:
        head.append("paper's score (LUNA16)")
    rows = []
    for row in found["per_class"]:
        label = row["class"]
        cells = [page.text(run.names[label]), str(row["support"])]
        for key in ("recall", "precision", "f1", "average_precision"):
            cells.append(page.UNKNOWN if row[key] is None else f"{100 * row[key]:.1f}")
        if run.paper_classes:
            cells.append(f"{PAPER_SCORES[label]:.1f}")
        rows.append(cells)
    text = (
        "<p>Per-class score of the FC3 classifier on the test queries, in percent (the paper's "
        "Table 3). AP is the average precision of one class against the rest by softmax, which "
        "is what the paper's &ldquo;score(mAP)&rdquo; most plausibly is.</p>"
        if run.paper_classes
        else "<p>Per-class score of the FC3 classifier on the test queries, in percent; AP is "
        "the average precision of one class against the rest by softmax.</p>"
    )
    folder = run.workdir / "evaluation" / "figures"
    return text + page.table(head, rows) + page.figure(folder / "confusion", _CAPTIONS["confusion"])


def _data(run: _Run) -> str:
    """Table 2, the split and samples."""
    dataset = run.metrics.get("dataset", {})
    splits = [s for s in ("train", "val", "test") if s in dataset]
    splits += [s for s in dataset if s not in splits]
    head = ["class (mm)" if run.paper_classes else "class", *map(page.text, splits), "all"]
    if run.paper_classes:
        head.append("paper")
    rows, totals = [], [0] * (len(splits) + 1)
    for label, name in enumerate(run.names):
        counts = [int(dataset[split].get(str(label), 0)) for split in splits]
        counts.append(sum(counts))
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        paper = [str(PAPER_COUNTS[label])] if run.paper_classes else []
        rows.append([page.text(name), *map(str, counts), *paper])
    paper = [str(sum(PAPER_COUNTS))] if run.paper_classes else []
    rows.append(["<b>all</b>", *(f"<b>{n}</b>" for n in totals), *paper])
    intro = ""
    path = run.workdir / "prepare" / "items.csv"
    if path.is_file():
        items = read_table(path)
        scans = {item.scan for item in items}
        intro = f"<p>{len(items)} items of {len(scans)} scans.</p>"
    kind = run.config.get("split", {}).get("kind")
    if kind == "slices":
        intro += (
            '<p class="warn">This run uses the paper\'s random split of slices: slices of one '
            "scan, even of one nodule, stand on both sides, so scores are too high. Compare "
            "with a split by scan.</p>"
        )
    elif kind:
        words = {
            "subset": "by LUNA16's official subsets",
            "patient": "at random by patient",
            "column": "as the data says",
        }
        intro += f"<p>Split {page.text(words.get(kind, kind))}.</p>"
    folder = run.workdir / "evaluation" / "figures"
    drawn = page.figure(folder / "class_counts", _CAPTIONS["class_counts"]) + page.figure(
        folder / "samples", _CAPTIONS["samples"], wide=True
    )
    return intro + page.table(head, rows) + drawn


def _lungs(run: _Run) -> str:
    """Dice, mask examples, and the audit of every nodule."""
    parts = []
    measured = _json(run.workdir / "segment" / "metrics.json") or run.metrics.get("segmentation")
    if measured:
        parts.append("<p>The U-Net against the masks it learned from, on held-out scans.</p>")
        words = {k: k.replace("_", " ").replace("dice", "Dice") for k in measured} | {"iou": "IoU"}
        head = [page.text(words[k]) for k in measured]
        parts.append(page.table(head, [[page.value(v) for v in measured.values()]]))
    else:
        parts.append("<p>No lung segmentation was run on this data.</p>")
    parts.append(
        page.figure(
            run.workdir / "segment" / "examples",
            "Slices with the outline of the mask by threshold and that of the U-Net. Where the "
            "two part, look whether a nodule at the pleura was cut off.",
            wide=True,
        )
    )
    audit = next(
        (
            path
            for stage in ("segment", "prepare")
            if (path := run.workdir / stage / "audit.csv").is_file()
        ),
        None,
    )
    if audit is None:
        parts.append("<p>There is no audit of nodules against lung masks for this data.</p>")
    else:
        parts.append(_audit(run, audit))
    return "".join(parts)


def _audit(run: _Run, path: Path) -> str:
    rows = files.read_csv(path, ("scan", "nodule", "diameter_mm"))
    kinds = [k for k in figures.MASK_NAMES if rows and all(row.get(k) for row in rows)]
    if not kinds:
        return "<p>The audit of nodules against lung masks is empty.</p>"
    where = [f"{path}: line {line}" for line in range(2, len(rows) + 2)]
    columns = {
        kind: np.array([files.number(r, kind, where=w) for r, w in zip(rows, where, strict=True)])
        for kind in ("diameter_mm", *kinds)
    }
    diameters = columns.pop("diameter_mm")
    lost = {kind: values < LOST_BELOW for kind, values in columns.items()}
    head = ["mask", "nodules", "mean share kept", f"lost (below {LOST_BELOW:.0%})"]
    table = page.table(
        head,
        [
            (
                page.text(figures.MASK_NAMES[kind]),
                str(len(rows)),
                f"{100 * columns[kind].mean():.1f} %",
                str(int(lost[kind].sum())),
            )
            for kind in kinds
        ],
    )
    figure = _drawn(
        run,
        "lung_mask_audit",
        figures.coverage(diameters, columns),
        "How much of each annotated nodule its lung mask keeps. Points near the bottom are "
        "nodules that a segmented slice no longer shows: mostly those at the pleura.",
    )
    any_lost = np.flatnonzero(np.any(list(lost.values()), axis=0))
    if not len(any_lost):
        return f"<h3>Nodules and masks</h3>{table}{figure}<p>No nodule is lost.</p>"
    final = kinds[-1]
    order = any_lost[np.lexsort((columns[final][any_lost], ~lost[final][any_lost]))]
    listed = [
        (
            page.text(figures.short(rows[i]["scan"], keep=16)),
            page.text(figures.short(rows[i]["nodule"], keep=24)),
            f"{diameters[i]:.1f}",
            *(f"{100 * columns[kind][i]:.0f} %" for kind in kinds),
        )
        for i in order
    ]
    lines = page.table(
        ("scan", "nodule", "mm", *(page.text(figures.MASK_NAMES[k]) for k in kinds)), listed, left=2
    )
    count = "1 nodule" if len(any_lost) == 1 else f"{len(any_lost)} nodules"
    title = f"{count} lost by at least one of the masks"
    return f"<h3>Nodules and masks</h3>{table}{figure}{page.details(title, lines)}"


def _training(run: _Run) -> str:
    parts = []
    for stage, title, caption in (
        (
            "train",
            "AlexNet" if run.config.get("model", {}).get("name") == "alexnet" else "InRes-Net",
            "The network's training. Training and validation should rise together; a gap that "
            "widens is overfitting.",
        ),
        ("segment", "U-Net", "The U-Net's training."),
    ):
        path = run.workdir / stage / "log.jsonl"
        rows = _jsonl(path) if path.is_file() else []
        if rows:
            figure = figures.training_curves(rows, title=f"Training of {title}")
            parts.append(_drawn(run, f"{stage}_curves", figure, caption))
    summary = _json(run.workdir / "train" / "summary.json")
    if summary:
        parts.append(page.details("Summary of the training", page.pairs(summary)))
    return "".join(parts) or "<p>There is no training log in this folder.</p>"


def _jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL log; a last line cut short by an interruption is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for place, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if place < len(lines):
                raise ValueError(f"{path}: line {place}: damaged JSON ({error})") from None
    return rows


def _settings(run: _Run) -> str:
    parts = [
        page.details(title, page.pairs(values))
        for title, values in (
            ("Config", run.config),
            ("Environment", run.environment),
            ("Preparation", _json(run.workdir / "prepare" / "meta.json")),
            ("What was judged", _json(run.workdir / "evaluation" / runs.JUDGED)),
        )
        if values
    ]
    return "".join(parts) or "<p>Neither config nor environment was recorded.</p>"
