"""The evaluated data: counts, split and samples."""

from inres.data.item_table import read_table
from inres.data.splits import SIDES
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
    folder = run.workdir / "evaluation" / "figures"
    counts = page.figure(folder / "class_counts", _CAPTIONS["class_counts"])
    samples = page.figure(folder / "samples", _CAPTIONS["samples"], wide=True)
    return _size(run) + _split(run) + _class_table(run) + counts + samples


def _size(run: Run) -> str:
    """Number of items and scans, if the run prepared them."""
    path = run.workdir / "prepare" / "items.csv"
    if not path.is_file():
        return ""
    items = read_table(path)
    scans = {item.scan for item in items}
    return f"<p>{len(items)} items of {len(scans)} scans.</p>"


def _split(run: Run) -> str:
    """How the items were split, with a warning if the split leaks by design."""
    kind = run.config.get("split", {}).get("kind")
    if not kind:
        return ""
    if kind == "slices":
        return (
            '<p class="warn">This run uses the paper\'s random split of slices: slices of one '
            "scan, even of one nodule, are on both sides, so scores are too high. Compare with a "
            "split by patient.</p>"
        )
    words = {
        "subset": "by LUNA16's subsets",
        "patient": "at random by patient",
        "column": "as given by the data",
    }
    return f"<p>Split {page.text(words.get(kind, kind))}.</p>"


def _class_table(run: Run) -> str:
    """Items of each class by side of the split, next to the paper's Table 2 if it applies."""
    dataset = run.metrics.get("dataset", {})
    splits = [s for s in SIDES if s in dataset]
    splits += [s for s in dataset if s not in splits]
    paper = [one.paper_items for one in SIZE_CLASSES] if run.paper_classes else []
    head = ["class (mm)" if run.paper_classes else "class", *map(page.text, splits), "all"]
    rows, totals = [], [0] * (len(splits) + 1)
    for label, name in enumerate(run.names):
        counts = [int(dataset[split].get(str(label), 0)) for split in splits]
        counts.append(sum(counts))
        totals = [a + b for a, b in zip(totals, counts, strict=True)]
        rows.append([page.text(name), *map(str, counts), *map(str, paper[label : label + 1])])
    rows.append(
        ["<b>all</b>", *(f"<b>{n}</b>" for n in totals), *([str(sum(paper))] * bool(paper))]
    )
    return page.table([*head, "paper"] if paper else head, rows)


SECTIONS.add("data", Section("Data", 50, section), module=__name__)
