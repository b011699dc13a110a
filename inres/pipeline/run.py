"""All stages of a run in order, and the numbers that it ends with."""

from collections.abc import Callable
from pathlib import Path

from inres.config import Config
from inres.data import leaks
from inres.pipeline import artifacts, stages
from inres.pipeline.evaluate import evaluate_run
from inres.pipeline.index import build_index
from inres.pipeline.prepare import prepare_items
from inres.pipeline.segment import segment_items
from inres.pipeline.split import split_items
from inres.pipeline.train import train_network
from inres.system import files
from inres.vocabulary import CLASS_NAMES, PAPER_SEARCH_PRECISION, PAPER_SETTING

Stage = Callable[[Config, Path], None]

STAGES: dict[str, Stage] = {
    "prepare": prepare_items,
    "split": split_items,
    "segment": segment_items,
    "train": train_network,
    "index": build_index,
    "evaluation": evaluate_run,
}
"""By name, in order. `prepare` also makes the stage `scans` where the scans are phantoms."""


def run_all(config: Config, workdir: Path) -> None:
    """Run every stage that is not complete.

    Raises:
      StageError: a folder of the workdir that a stage would write to was made by something else.
    """
    for name in stages.STAGES:
        stages.require_own(workdir / name)
    for stage in STAGES.values():
        stage(config, workdir)


def summary(workdir: Path) -> str:
    """The most important numbers of a finished run, as text."""
    evaluation, again = workdir / "evaluation", "run the evaluation again"
    needed = ("rankings", "classification", "paper", "pool")
    metrics = files.read_object(evaluation / "metrics.json", needed, remedy=again)
    rankings = metrics["rankings"]

    def line(name: str, value: float | None, comparison: str = "") -> str:
        shown = "unknown" if value is None else f"{value:.3f}"
        return f"  {name:<46}{shown:>8}  {comparison}".rstrip()

    two_stage, pixels, chance = (rankings[name] for name in ("two_stage", "pixels", "chance"))
    baselines = f"(pixels {pixels['map_macro']:.3f}, chance {chance['map_macro']:.3f})"
    curves = files.read_object(evaluation / "curves.json", ("class_names",), remedy=again)
    names = curves["class_names"]
    paper = f"(paper, {PAPER_SETTING}: {PAPER_SEARCH_PRECISION})" if names == [*CLASS_NAMES] else ""
    lines = ["", "Results on the test items"]
    if metrics.get("segmentation"):
        lines.append(line("lung masks of the U-Net: Dice", metrics["segmentation"]["dice"]))
    lines += [
        line("FC3 classifier: accuracy", metrics["classification"]["accuracy"]),
        line("two-stage search: macro mAP", two_stage["map_macro"], baselines),
        line("two-stage search: macro precision@10", two_stage["precision_at_10_macro"]),
        line("Hamming distance alone: macro mAP", rankings["hamming"]["map_macro"]),
        line("mean search precision", metrics["paper"]["search_precision"], paper),
        line("mean pool size, items", metrics["pool"]["mean_size"]),
        *(f"  the split: {text}" for text in leaks.leak_lines(artifacts.leaks(workdir))),
    ]
    return "\n".join(lines)
