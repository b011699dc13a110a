"""Lung masks, and the share of each nodule that they keep."""

from pathlib import Path

import numpy as np

from inres.figures import panels
from inres.figures.lungs import MASK_NAMES, coverage
from inres.report import page
from inres.report.run import Run, drawn
from inres.report.sections import SECTIONS, Section
from inres.system import files

LOST_BELOW = 0.5
"""A nodule counts as lost by a mask that keeps less than this share of its sphere."""


def section(run: Run) -> str:
    """Dice, mask examples, and the audit of every nodule."""
    parts = []
    measured = run.json("segment/metrics.json") or run.metrics.get("segmentation")
    if measured:
        parts.append("<p>The U-Net against the masks it learned from, on held-out slices.</p>")
        words = {k: k.replace("_", " ").replace("dice", "Dice") for k in measured} | {"iou": "IoU"}
        head = [page.text(words[k]) for k in measured]
        parts.append(page.table(head, [[page.value(v) for v in measured.values()]]))
    else:
        parts.append("<p>No lung segmentation was run on this data.</p>")
    parts.append(
        page.figure(
            run.workdir / "segment" / "examples",
            "Slices with the outlines of the mask that the U-Net learned from and of its own mask. "
            "Where they differ, check whether a nodule at the pleura was cut off.",
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


def _audit(run: Run, path: Path) -> str:
    rows = files.read_csv(path, ("scan", "nodule", "diameter_mm"))
    kinds = [k for k in MASK_NAMES if rows and all(row.get(k) for row in rows)]
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
                page.text(MASK_NAMES[kind]),
                str(len(rows)),
                f"{100 * columns[kind].mean():.1f} %",
                str(int(lost[kind].sum())),
            )
            for kind in kinds
        ],
    )
    figure = drawn(
        run,
        "lung_mask_audit",
        coverage(diameters, columns),
        "Share of each annotated nodule inside its lung mask. Points near the bottom are nodules "
        "that a segmented slice no longer shows, mostly at the pleura.",
    )
    any_lost = np.flatnonzero(np.any(list(lost.values()), axis=0))
    if not len(any_lost):
        return f"<h3>Nodules and masks</h3>{table}{figure}<p>No nodule is lost.</p>"
    final = kinds[-1]
    order = any_lost[np.lexsort((columns[final][any_lost], ~lost[final][any_lost]))]
    listed = [
        (
            page.text(panels.short(rows[i]["scan"], keep=16)),
            page.text(panels.short(rows[i]["nodule"], keep=24)),
            f"{diameters[i]:.1f}",
            *(f"{100 * columns[kind][i]:.0f} %" for kind in kinds),
        )
        for i in order
    ]
    lines = page.table(
        ("scan", "nodule", "mm", *(page.text(MASK_NAMES[k]) for k in kinds)), listed, left=2
    )
    count = "1 nodule" if len(any_lost) == 1 else f"{len(any_lost)} nodules"
    title = f"{count} lost by at least one of the masks"
    return f"<h3>Nodules and masks</h3>{table}{figure}{page.details(title, lines)}"


SECTIONS.add("lungs", Section("Lungs", 60, section), module=__name__)
