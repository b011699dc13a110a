"""The whole road: prepare -> split -> segment -> train -> index -> evaluate -> report.

    python -m experiments.reproduce --config=experiments/configs/phantom.py --workdir=runs/phantom

Stages that are done are skipped; an interrupted one goes on where it stopped. Ends with the
paths of what it made and the numbers that matter.
"""

from pathlib import Path

from experiments import common, evaluate, index, prepare, segment, split, train
from inres.config import Config
from inres.report.build import build_report
from inres.system import files


def run(config: Config, workdir: Path) -> None:
    """Every stage in order, then the report."""
    for stage in (prepare, split, segment, train, index, evaluate):
        stage.run(config, workdir)
    common.describe(workdir, config)  # the report shows it
    page = build_report(workdir)
    print(summary(workdir, page))


def summary(workdir: Path, page: Path) -> str:
    """The paths and numbers that a run ends with."""
    metrics = files.read_json(workdir / "evaluation" / "metrics.json")
    rankings = metrics["rankings"]

    def line(name: str, value: float | None, beside: str = "") -> str:
        shown = "unknown" if value is None else f"{value:.3f}"
        return f"  {name:<46}{shown:>8}  {beside}".rstrip()

    two_stage = rankings["two_stage"]
    pixels, chance = (rankings[n] for n in ("pixels", "chance"))
    against = f"(pixels {pixels['map_macro']:.3f}, chance {chance['map_macro']:.3f})"
    lines = ["", "Results on the test items"]
    if metrics.get("segmentation"):
        lines.append(line("lung masks of the U-Net: Dice", metrics["segmentation"]["dice"]))
    lines += [
        line("FC3 classifier: accuracy", metrics["classification"]["accuracy"]),
        line("two-stage search: macro mAP", two_stage["map_macro"], against),
        line("two-stage search: macro precision@10", two_stage["precision_at_10_macro"]),
        line("Hamming distance alone: macro mAP", rankings["hamming"]["map_macro"]),
        line("mean search precision", metrics["paper"]["search_precision"], "(paper: 0.73)"),
        line("mean pool size, items", metrics["pool"]["mean_size"]),
        *(f"  the split: {text}" for text in split.leak_lines(workdir)),
        "",
        f"  report   {page}",
        f"  metrics  {workdir / 'evaluation' / 'metrics.json'}",
        f"  index    {workdir / 'index' / 'archive'}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    common.launch(run)
