"""Head of the report: the run in one line, and the few numbers that matter."""

from inres import sources, vocabulary
from inres.data import leaks
from inres.evaluation.runs import JUDGED
from inres.report import page
from inres.report.run import Run


def summary(run: Run) -> str:
    """The run in one line, and its result in one sentence."""
    protocol = run.metrics.get("protocol", {})
    facts = [f"run <b>{page.text(run.name)}</b>"]
    data = run.config.get("data", {})
    if data.get("kind"):
        facts.append(page.text(sources.get(data["kind"]).title_of(data.get("root", ""))))
    if protocol:
        fine = vocabulary.ranking(protocol["fine"]).title
        facts.append(f"{protocol['queries']} queries, archive of {protocol['gallery']} items")
        facts.append(
            f"{protocol['bits']}-bit codes, Hamming distance below {protocol['threshold']}, "
            f"then {page.text(fine)}"
        )
    precision = run.metrics.get("paper", {}).get("search_precision")
    chance = run.ranking("chance", "precision_at_10_micro")
    lead = ""
    paper = page.share(vocabulary.PAPER_SEARCH_PRECISION)
    if precision is not None:
        lead = (
            f'<p class="lead">On average, <b>{page.share(precision)}</b> of the ten nearest slices '
            "found are of the query's own class"
            + (f"; by chance it would be {page.share(chance)}" if chance is not None else "")
            + (f" (the paper reports {paper} on LUNA16)." if run.paper_classes else ".")
            + "</p>"
        )
    return f'<p class="sub">{" · ".join(facts)}</p>{lead}{_leaks(run)}'


def _leaks(run: Run) -> str:
    """What is on two sides of the split, next to the scores that it inflates."""
    found = run.json("split/leaks.json") or run.json(f"evaluation/{JUDGED}").get("leaks")
    if not found:
        return ""
    lines = leaks.leak_lines(found)
    whole = {"scan": True, "patient": True, "near-identical image": True}
    examined = [what for what, known in found.get("known", whole).items() if known]
    nothing = f"No {' and no '.join(examined) or 'item'} is both in the archive and among queries"
    return f'<p class="note">{page.text(". ".join(lines) or nothing)}.</p>'


def cards(run: Run) -> str:
    """The few numbers that matter, each with what it must be compared with."""
    baselines = ("softmax", "predicted_class", "pixels", "chance")
    cards = [
        page.card(
            "Search precision, top 10",
            page.number(run.metrics.get("paper", {}).get("search_precision"), 2),
            page.between(run.ends("paper", "search_precision"), 2),
            f"paper {vocabulary.PAPER_SEARCH_PRECISION}, on LUNA16" if run.paper_classes else "",
            _baselines(run, "precision_at_10_micro", 2, *baselines),
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
                    _baselines(run, key, digits, *baselines),
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
        cards.append(
            page.card(
                "Classification accuracy",
                page.number(classification["accuracy"], 2),
                page.between(run.ends("classification", "accuracy"), 2),
                f"macro recall {page.number(classification['macro_recall'], 2)}",
                f"always the largest class {page.number(max(counts) / sum(counts), 2)}"
                if sum(counts)
                else "",
            )
        )
    dice = (run.metrics.get("segmentation") or {}).get("dice")
    if dice is not None:
        cards.append(
            page.card(
                "Lung mask Dice (U-Net)",
                page.number(dice, 3),
                f"IoU {page.number(run.metrics['segmentation'].get('iou'), 3)}, held-out slices",
            )
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _baselines(run: Run, key: str, digits: int, *names: str) -> str:
    """One number of the rankings `names`, as `chance 0.27 · raw pixels 0.51`."""
    found = [(vocabulary.ranking(n).title, run.ranking(n, key)) for n in names]
    words = (f"{n}{page.NO_BREAK}{page.number(v, digits)}" for n, v in found if v is not None)
    return " · ".join(words)
