"""Rows of the tables that an evaluation writes."""

from collections.abc import Mapping, Sequence
from typing import Any

from inres.evaluation.assessment import Assessment
from inres.vocabulary import CLASS_NAMES, SIZE_CLASSES


def evaluation_tables(
    assessment: Assessment,
    dataset: Mapping[str, Sequence[int]],
    efficiency: Sequence[Mapping[str, Any]] | None,
) -> dict[str, list[dict[str, Any]]]:
    """Rows by name of the table; the paper's columns are present if the classes are its own."""
    evaluation, intervals = assessment.evaluation, assessment.intervals
    return {
        "table2": _class_counts(assessment.class_names, dataset),
        "table3": _class_scores(assessment.class_names, evaluation.classification),
        "rankings": _rankings(evaluation.rankings, intervals.get("rankings", {})),
        "margins": [
            {"ranking": name, "measure": key, **values}
            for name, measures in intervals.get("margins", {}).items()
            for key, values in measures.items()
        ],
        "codes": [{"ranking": name, **row} for name, row in evaluation.codes.items()],
        "lookup": [{"ranking": name, **row} for name, row in evaluation.lookup.items()],
        "efficiency": [dict(row) for row in efficiency or ()],
    }


def _class_counts(
    names: Sequence[str], dataset: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """Items of each class by split (the paper's Table 2)."""
    paper = tuple(names) == CLASS_NAMES
    return [
        {
            "class": label,
            "name": name,
            **{split: int(counts[label]) for split, counts in dataset.items()},
            "all": int(sum(counts[label] for counts in dataset.values())),
            **({"paper": SIZE_CLASSES[label].paper_items} if paper else {}),
        }
        for label, name in enumerate(names)
    ]


def _class_scores(
    names: Sequence[str], classification: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Scores of the classifier for each class (the paper's Table 3)."""
    paper = tuple(names) == CLASS_NAMES
    return [
        {
            "class": row["class"],
            "name": names[row["class"]],
            **{k: v for k, v in row.items() if k != "class"},
            **({"paper": SIZE_CLASSES[row["class"]].paper_score / 100} if paper else {}),
        }
        for row in (classification["per_class"] if classification else ())
    ]


def _rankings(
    rankings: Mapping[str, Mapping[str, float | None]], ends: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """All numbers of each ranking, with the ends of their intervals if there are any."""
    rows = []
    for name, numbers in rankings.items():
        row: dict[str, Any] = {"ranking": name}
        for key, value in numbers.items():
            row[key] = value
            if name in ends:
                row[f"{key}_low"], row[f"{key}_high"] = ends[name][key] or (None, None)
        rows.append(row)
    return rows
