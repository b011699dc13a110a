"""Training of the networks."""

from inres.figures import curves
from inres.learning.logs import read_log
from inres.models import networks
from inres.report import page
from inres.report.run import Run, drawn
from inres.report.sections import SECTIONS, Section


def section(run: Run) -> str:
    """The curves of each network, and the summary of the training."""
    parts = []
    for stage, title, caption in (
        (
            "train",
            _network(run),
            "Training of the network. Training and validation scores should rise together; a "
            "widening gap means overfitting.",
        ),
        ("segment", "U-Net", "Training of the U-Net."),
    ):
        rows = read_log(run.workdir / stage / "log.jsonl")
        if rows:
            figure = curves.training_curves(rows, title=f"Training of {title}")
            parts.append(drawn(run, f"{stage}_curves", figure, caption))
    summary = run.json("train/summary.json")
    if summary:
        parts.append(page.details("Summary of the training", page.pairs(summary)))
    return "".join(parts) or "<p>There is no training log in this folder.</p>"


def _network(run: Run) -> str:
    """Title of the network; its name if it is not registered in this process."""
    name = run.config.get("model", {}).get("name", "inres_net")
    return networks.get(name).title if name in networks.names() else name


SECTIONS.add("training", Section("Training", 70, section), module=__name__)
