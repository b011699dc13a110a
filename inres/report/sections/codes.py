"""Statistics of the codes, what a lookup finds, and what a search costs."""

from inres.report import measures, page
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section

_CAPTIONS = {
    "lookups": "Hamming lookup: all items within a radius. Each code starts at radius 0 on the "
    "left; diamonds mark radius 2. Good codes have high precision at radius 2 and few empty "
    "lookups (an empty lookup counts as precision 0).",
    "efficiency": "The paper's claim of efficiency. Left: share of the true ten nearest items (by "
    "the fine feature, over the whole archive) that the two-stage search finds, against the size "
    "of the pool; labels are Hamming thresholds. Right: the same against the measured time per "
    "query, in batches, on the machine of this run. A steep rise at the left is good.",
    "pools": "Effect of the threshold. Left: a higher threshold finds more (recall) and leaves "
    "fewer pools empty, but admits other classes (precision). Right: the share of the archive "
    "that the fine stage must compare.",
    "class_hamming": "Mean Hamming distance between classes. A dark diagonal means that the codes "
    "separate the classes; for size classes, distances should grow away from the diagonal.",
    "map": "The fine feature in two principal components, fitted on the archive. Queries "
    "(triangles) should lie among items of their own colour. Classes that overlap here may still "
    "be separated by the remaining components.",
}


def section(run: Run) -> str:
    """Statistics of the codes, what a lookup finds, and what a search costs."""
    folder = run.workdir / "evaluation" / "figures"
    wide, pair = (
        "".join(page.figure(folder / stem, _CAPTIONS[stem], wide=wide) for stem in stems)
        for wide, stems in (
            (True, ("lookups", "efficiency", "pools")),
            (False, ("class_hamming", "map")),
        )
    )
    return f'{_statistics(run)}{wide}{_cost(run)}<div class="pair">{pair}</div>'


def _statistics(run: Run) -> str:
    """A row for each code; empty without codes."""
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
        '<abbr title="among the items of the archive">distinct codes</abbr>',
        '<abbr title="mean over the bits; 1 is best">bit entropy</abbr>',
        '<abbr title="mean |r| over pairs of bits; 0 is best">correlation</abbr>',
        '<abbr title="precision within Hamming radius 2, mean over classes">P in radius 2</abbr>',
        '<abbr title="queries with no item within Hamming radius 2">empty</abbr>',
    )
    return page.table(head, rows) if rows else ""


def _cost(run: Run) -> str:
    """A row for each timed threshold; empty if none was timed."""
    rows = [
        (
            str(row["threshold"]),
            f"{row['mean_pool']:.1f}",
            page.share(row["neighbours_kept"]),
            f"{1e3 * row['seconds_per_query']:.3f}",
        )
        for row in run.metrics.get("efficiency") or ()
    ]
    head = ("Hamming threshold (less than)", "mean pool", "true ten nearest found", "ms per query")
    return f"<h3>Cost of a search</h3>{page.table(head, rows)}" if rows else ""


SECTIONS.add("codes", Section("Codes and cost", 30, section), module=__name__)
