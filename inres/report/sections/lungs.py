"""Lung masks, and the share of each nodule that they keep."""

from collections.abc import Mapping, Sequence
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
    examples = page.figure(
        run.workdir / "segment" / "examples",
        "Slices with the outlines of the mask that the U-Net learned from and of its own mask. "
        "Where they differ, check whether a nodule at the pleura was cut off.",
        wide=True,
    )
    audits = [run.workdir / stage / "audit.csv" for stage in ("segment", "prepare")]
    audit = next((path for path in audits if path.is_file()), None)
    if audit is None:
        nodules = "<p>There is no audit of nodules against lung masks for this data.</p>"
    else:
        nodules = _audit(run, audit)
    return _overlap(run) + examples + nodules


def _overlap(run: Run) -> str:
    """Scores of the U-Net on held-out slices."""
    measured = run.json("segment/metrics.json") or run.metrics.get("segmentation")
    if not measured:
        return "<p>No lung segmentation was run on this data.</p>"
    words = {k: k.replace("_", " ").replace("dice", "Dice") for k in measured} | {"iou": "IoU"}
    head = [page.text(words[k]) for k in measured]
    table = page.table(head, [[_measured(v) for v in measured.values()]])
    cubes = (
        " Items are cubes, whose lungs are those of the preparation, not the U-Net's."
        if run.config.get("items", {}).get("view") == "cube"
        else ""
    )
    return f"<p>The U-Net against the masks it learned from, on held-out slices.{cubes}</p>{table}"


def _measured(value: float | None) -> str:
    """Shares with three decimal places, counts as they are."""
    return str(value) if isinstance(value, int) else page.number(value)


def _audit(run: Run, path: Path) -> str:
    """Share of each nodule that each kind of mask keeps, and the nodules that are lost."""
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
    figure = drawn(
        run,
        "lung_mask_audit",
        coverage(diameters, columns),
        "Share of each annotated nodule inside its lung mask. Points near the bottom are nodules "
        "that a segmented slice no longer shows, mostly at the pleura.",
    )
    kept = page.table(
        ["mask", "nodules", "mean share kept", f"lost (below {LOST_BELOW:.0%})"],
        [
            (
                page.text(MASK_NAMES[kind]),
                str(len(rows)),
                f"{100 * shares.mean():.1f} %",
                str(int((shares < LOST_BELOW).sum())),
            )
            for kind, shares in columns.items()
        ],
    )
    return f"<h3>Nodules and masks</h3>{kept}{figure}{_lost(rows, diameters, columns)}"


def _lost(
    rows: Sequence[Mapping[str, str]], diameters_mm: np.ndarray, shares: Mapping[str, np.ndarray]
) -> str:
    """The nodules that at least one kind of mask loses, those lost by the last kind first."""
    lost = {kind: values < LOST_BELOW for kind, values in shares.items()}
    any_lost = np.flatnonzero(np.any(list(lost.values()), axis=0))
    if not len(any_lost):
        return "<p>No nodule is lost.</p>"
    final = list(shares)[-1]
    order = any_lost[np.lexsort((shares[final][any_lost], ~lost[final][any_lost]))]
    listed = [
        (
            page.text(panels.short(rows[i]["scan"], keep=16)),
            page.text(panels.short(rows[i]["nodule"], keep=24)),
            panels.millimetres(diameters_mm[i]),
            *(f"{100 * values[i]:.0f} %" for values in shares.values()),
        )
        for i in order
    ]
    head = ("scan", "nodule", "mm", *(page.text(MASK_NAMES[kind]) for kind in shares))
    count = "1 nodule" if len(any_lost) == 1 else f"{len(any_lost)} nodules"
    title = f"{count} lost by at least one of the masks"
    return page.details(title, page.table(head, listed, left=2))


SECTIONS.add("lungs", Section("Lungs", 60, section), module=__name__)
