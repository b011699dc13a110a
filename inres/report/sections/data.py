"""The evaluated data: counts, split and samples."""

from inres.data.items import read_table
from inres.report import page
from inres.report.run import Run
from inres.report.sections import SECTIONS, Section
from inres.vocabulary import SIZE_CLASSES

_CAPTIONS = {
    "class_counts": "Items of each class on each side of the split. Classes with few test items "
    "have the least certain numbers, but the same weight in macro means.",
    "samples": "Test items as the network sees them, one row per class, from small to large.",
}


def section(run: Run) -> str:
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
        paper = [str(SIZE_CLASSES[label].paper_items)] if run.paper_classes else []
        rows.append([page.text(name), *map(str, counts), *paper])
    paper = [str(sum(one.paper_items for one in SIZE_CLASSES))] if run.paper_classes else []
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
            "scan, even of one nodule, are on both sides, so scores are too high. Compare with a "
            "split by patient.</p>"
        )
    elif kind:
        words = {
            "subset": "by LUNA16's subsets",
            "patient": "at random by patient",
            "column": "as given by the data",
        }
        intro += f"<p>Split {page.text(words.get(kind, kind))}.</p>"
    folder = run.workdir / "evaluation" / "figures"
    drawn = page.figure(folder / "class_counts", _CAPTIONS["class_counts"]) + page.figure(
        folder / "samples", _CAPTIONS["samples"], wide=True
    )
    return intro + page.table(head, rows) + drawn


SECTIONS.add("data", Section("Data", 50, section), module=__name__)
