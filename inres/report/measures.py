"""Tables of rankings: their columns, and all numbers of all rankings."""

import dataclasses
from collections.abc import Sequence

from inres import vocabulary
from inres.report import page
from inres.report.run import Run


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table of rankings: one number of `metrics.json`."""

    key: str
    title: str
    explanation: str
    metric: vocabulary.Metric

    @property
    def head(self) -> str:
        """The column's heading in HTML, with its explanation as a tooltip."""
        return f'<abbr title="{page.text(self.explanation)}">{page.text(self.title)}</abbr>'


def columns(run: Run, names: Sequence[str]) -> list[Column]:
    """The columns for which any of the rankings `names` has a number."""
    k = run.metrics.get("protocol", {}).get("k", 10)
    every = [
        Column(mean.key.format(k=k), mean.title.format(k=k), mean.explanation.format(k=k), metric)
        for metric, mean in vocabulary.means()
        if mean.in_report
    ]
    return [one for one in every if any(run.ranking(n, one.key) is not None for n in names)]


def ranking_cell(name: str) -> str:
    """The title of a ranking, and in small print what it goes by."""
    ranking = vocabulary.ranking(name)
    return f"{page.text(ranking.title)}<small>{page.text(ranking.note)}</small>"


def found_rankings(run: Run) -> list[str]:
    """Names of the rankings of this run, in the order of tables."""
    return [n for n in vocabulary.ranking_names() if n in run.metrics.get("rankings", {})]


def table(run: Run) -> str:
    """All rankings and their numbers, the best of each column marked."""
    names = found_rankings(run)
    shown = columns(run, names)
    best = {one.key: _best(run, one, names) for one in shown}
    rows = []
    for name in names:
        cells = [ranking_cell(name)]
        for one in shown:
            value = run.ranking(name, one.key)
            text = page.number(value, one.metric.digits)
            mark = name != "chance" and value is not None and value == best[one.key]
            cells.append(f'<td class="best">{text}</td>' if mark else text)
        low, high = (run.ranking(name, f"map_macro_{order}") for order in ("worst", "best"))
        cells.append(f"{page.number(low)} to {page.number(high)}")
        rows.append(cells)
    ties = '<abbr title="macro mAP in the worst and best order of ties">mAP by ties</abbr>'
    head = ["ranking", *(one.head for one in shown), ties]
    note = f"<p class='note'>{' '.join(_notes(run, shown))}</p>"
    return page.details("All metrics of all rankings", page.table(head, rows)) + note


def _best(run: Run, column: Column, names: Sequence[str]) -> float | None:
    """The best number of a column, chance aside; None if there is none."""
    every = [run.ranking(name, column.key) for name in names if name != "chance"]
    values = [value for value in every if value is not None]
    return (min if column.metric.lower_is_better else max)(values, default=None)


def _notes(run: Run, shown: Sequence[Column]) -> list[str]:
    """Sentences below the table."""
    protocol = run.metrics.get("protocol", {})
    pairs = protocol.get("excluded_pairs", 0)
    notes = [
        "The best value of each column is shaded (chance aside); for errors, lower is better.",
        "Every number is the expected value over all orders of equal distances, so it does not "
        "depend on the order of the archive.",
        "Macro: mean over classes; micro: mean over queries.",
        "A supervised code should beat ranking by predicted class and by softmax.",
        "Items of the query's own scan may be returned here, as in the paper's split."
        if protocol.get("own_scan")
        else f"Items of the query's own scan are never returned ({pairs} pairs excluded).",
    ]
    if without := protocol.get("queries_without_relevant", 0):
        notes.append(
            f"{without} queries have no item of their class in the archive and are left out of all "
            "means over rankings."
        )
    if all(one.metric.column != "diameter_error_mm" for one in shown):
        notes.append("Diameters are unknown for this data, so there is no error in mm.")
    return notes
