"""Head of the report: the run in one line, its result in one sentence, and leaks of the split."""

from collections.abc import Mapping
from typing import Any

from inres import sources, vocabulary
from inres.data import leaks
from inres.evaluation.runs import JUDGED
from inres.report import page
from inres.report.run import Run


def summary(run: Run) -> str:
    """The run in one line, its result in one sentence, and leaks of the split."""
    return f'<p class="sub">{" · ".join(_facts(run))}</p>{_result(run)}{_leaks(run)}'


def _facts(run: Run) -> list[str]:
    """Name, data, size and search of the run."""
    facts = [f"run <b>{page.text(run.name)}</b>"]
    data, protocol = run.config.get("data", {}), run.metrics.get("protocol")
    if data.get("kind"):
        facts.append(page.text(sources.get(data["kind"]).title_of(data.get("root", ""))))
    if run.config.get("items"):
        facts.append(_seen(run.config))
    if protocol:
        fine = vocabulary.ranking(protocol["fine"]).title
        least = protocol.get("least_pool")
        near = int(protocol["threshold"])
        pool = "equal codes" if near == 1 else f"a Hamming distance below {near}"
        widened = f", but at least the nearest {page.share(least)}" if least else ""
        facts.append(f"{protocol['queries']} queries, archive of {protocol['gallery']} items")
        facts.append(
            f"{protocol['bits']}-bit codes, pools of {pool}{widened}, ranked by {page.text(fine)}"
        )
    return facts


def _seen(config: Mapping[str, Any]) -> str:
    """What the network sees of an item."""
    items, planes = config["items"], config["model"]["planes"]
    if items["view"] == "cube":
        cube = f"a cube of {items['cube_mm']:g} mm"
        return f"{planes} planes of {cube}" if planes in ("three", "nine") else cube
    whole = "whole " if items["view"] == "slice" else ""
    count = 2 * items["neighbours"] + 1
    return f"{count} {whole}slices per item" if count > 1 else f"one {whole}slice per item"


def _result(run: Run) -> str:
    """Search precision in words, with empty pools, chance and the paper's; empty if unknown."""
    precision = run.metrics.get("paper", {}).get("search_precision")
    if precision is None:
        return ""
    sentences = [
        f"On average, <b>{page.share(precision)}</b> of a query's first ten results are of its own "
        "class."
    ]
    if empty := page.empty_pools(run.metrics.get("pool")):
        sentences.append(f"{empty}.")
    chance = run.ranking("chance", "precision_at_10_micro")
    if chance is not None:
        sentences.append(f"A random order of the archive gives {page.share(chance)}.")
    if run.paper_classes:
        paper = page.share(vocabulary.PAPER_SEARCH_PRECISION)
        sentences.append(f"The paper reports {paper}, {vocabulary.PAPER_SETTING}.")
    return f'<p class="lead">{" ".join(sentences)}</p>'


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
