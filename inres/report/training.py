"""How the networks were trained."""

import json
from pathlib import Path
from typing import Any

from inres.figures import curves
from inres.report import page
from inres.report.run import Run, drawn


def section(run: Run) -> str:
    """The curves of each network, and the summary of the training."""
    parts = []
    for stage, title, caption in (
        (
            "train",
            "AlexNet" if run.config.get("model", {}).get("name") == "alexnet" else "InRes-Net",
            "The network's training. Training and validation should rise together; a gap that "
            "widens is overfitting.",
        ),
        ("segment", "U-Net", "The U-Net's training."),
    ):
        path = run.workdir / stage / "log.jsonl"
        rows = _jsonl(path) if path.is_file() else []
        if rows:
            figure = curves.training_curves(rows, title=f"Training of {title}")
            parts.append(drawn(run, f"{stage}_curves", figure, caption))
    summary = run.json("train/summary.json")
    if summary:
        parts.append(page.details("Summary of the training", page.pairs(summary)))
    return "".join(parts) or "<p>There is no training log in this folder.</p>"


def _jsonl(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL log; a last line cut short by an interruption is left out."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = []
    for place, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if place < len(lines):
                raise ValueError(f"{path}: line {place}: damaged JSON ({error})") from None
    return rows
