"""The classifier on the same network as the codes, class by class."""

from inres.report import page
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section
from inres.vocabulary import PAPER_SETTING, SIZE_CLASSES

_CONFUSION = (
    "Errors of the classifier (argmax of FC3). Counts far from the diagonal are severe; those "
    "next to it are often diameters close to a class edge."
)


def section(run: Run) -> str:
    """Table 3 and the confusion matrix."""
    found = run.metrics.get("classification")
    if not found:
        return "<p>There are no FC3 outputs, so there is no classification.</p>"
    head = ["class", "test items", "recall", "precision", "F1", "AP"]
    if run.paper_classes:
        head.append("paper's score")
    rows = []
    for row in found["per_class"]:
        label = row["class"]
        cells = [page.text(run.names[label]), str(row["support"])]
        for key in ("recall", "precision", "f1", "average_precision"):
            cells.append(page.UNKNOWN if row[key] is None else f"{100 * row[key]:.1f}")
        if run.paper_classes:
            cells.append(f"{SIZE_CLASSES[label].paper_score:.1f}")
        rows.append(cells)
    text = (
        "<p>Per-class score of the FC3 classifier on the test queries, in percent (the paper's "
        "Table 3). AP is the average precision of one class against the rest by softmax, the most "
        "plausible meaning of the paper's &ldquo;score(mAP)&rdquo;. The paper's scores were "
        f"measured {PAPER_SETTING}; those of other data or another split are not comparable.</p>"
        if run.paper_classes
        else "<p>Per-class score of the FC3 classifier on the test queries, in percent; AP is "
        "the average precision of one class against the rest by softmax.</p>"
    )
    folder = run.workdir / "evaluation" / "figures"
    return text + page.table(head, rows) + page.figure(folder / "confusion", _CONFUSION)


SECTIONS.add("classification", Section("Classification", 40, section), module=__name__)
