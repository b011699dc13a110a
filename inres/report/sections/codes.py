"""What the codes are like, what a lookup finds and what a search costs."""

from inres.report import measures, page
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section

_CAPTIONS = {
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
}


def section(run: Run) -> str:
    """What the codes are like, what a lookup finds and what a search costs."""
    folder = run.workdir / "evaluation" / "figures"
    statistics, lookup = run.metrics.get("codes", {}), run.metrics.get("lookup", {})
    rows = [
        (
            measures.ranking_cell(name),
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


SECTIONS.add("codes", Section("Codes and cost", 30, section), module=__name__)
