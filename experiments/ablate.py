"""What a choice is worth: variants of one config x seeds, each compared with the base.

    python -m experiments.ablate --config=experiments/configs/ablate_losses.py \\
        --workdir=runs/ablate_losses

A config names a base config and its variants, fields and their values; the base may be another
file (--config=experiments/configs/ablate_losses.py:folder), any of its fields is a flag
(--config.base.data.root=FOLDER), and so are the variants and seeds
(--config.variants="({}, {'hash.bits': 64})" --config.seeds="(0,)").

Every run has its own workdir under <workdir>/runs, like one of `experiments.reproduce`; stages on
which the variants have no bearing are made once and linked. A run that is done is skipped, one that
was interrupted goes on; the same command, started several times on one workdir, shares the runs
out. What is finished at the end is compared (a variant that lacks one of the rankings has no row of
it, and a note says so), and left in <workdir>: ablation.csv, .tex, .md, .json and .png, .svg, .pdf
(means over seeds, intervals over patients, paired differences from the base and their p-values),
and commands.txt, for each run the line that makes it alone. Takes as long as its runs.
"""

import dataclasses
from pathlib import Path

from experiments import common, configs, evaluate, index, prepare, segment, split, train
from inres.config import Config
from inres.evaluation import runs
from inres.figures import style
from inres.learning.step_metrics import TrainingError
from inres.pipeline import stages
from inres.studies import ablation
from inres.system import files, tables
from inres.system.memory import keep_freed_memory

RUN = (prepare, split, segment, train, index, evaluate)


def run(arguments: list[str]) -> None:
    """Make every run that is not done, then compare them."""
    if arguments:
        raise ValueError(f"unknown argument {arguments[0]!r}; flags begin with --")
    if common.REDO.value:
        raise ValueError("--redo: not here; remove the runs to be made anew from <workdir>/runs")
    keep_freed_memory()
    grid = ablation.checked(common.CONFIG.value)
    workdir = Path(str(common.WORKDIR.value)).expanduser().resolve()
    folder = workdir / "runs"
    stages.share(folder)
    planned = ablation.runs(grid)
    write_commands(grid, planned, workdir)
    held: set[str] = set()
    for number, one in enumerate(planned, start=1):
        print(f"run {number} of {len(planned)}: {one.name}", flush=True)
        try:
            make(one.config, folder / one.name)
        except stages.Held as error:
            held.add(one.name)
            print(f"  left out: {error}")
        except TrainingError as error:
            print(f"  left out: {error}")
    found = {}
    for one in planned:  # looked at anew: others may have finished meanwhile
        if finished(one.config, folder / one.name):
            found[one.name] = runs.read(folder / one.name / "evaluation")
        else:
            print(f"note: {one.name} is not finished; its variant is not in the table")
    if others := held - found.keys():
        print(f"others are still at work on {len(others)} runs; whoever ends last writes the table")
        return
    compare(grid, found, workdir)


def finished(config: Config, root: Path) -> bool:
    """Whether the run in `root` is done, with this config."""
    made, last = root / "config.json", root / "evaluation" / "stage.json"
    if not (made.is_file() and last.is_file()):
        return False
    return common.read_config(made) == config


def make(config: Config, root: Path) -> None:
    """All stages of one run, unless it is done."""
    if finished(config, root):
        print(f"  done already, skipped ({root})")
        return
    with stages.lock(root):
        for stage in RUN:
            stage.run(config, root)
        common.describe(root, config)  # last: where it stands, the run is done


def write_commands(grid: ablation.Ablation, planned: list[ablation.Planned], workdir: Path) -> None:
    """A line for each run that makes it alone, in its workdir."""
    pristine = configs.load(grid.base_name)
    lines = [
        ablation.command(
            one.config,
            pristine,
            base_name=grid.base_name,
            workdir=str(workdir / "runs" / one.name),
        )
        for one in planned
    ]
    files.write_text(workdir / "commands.txt", "\n".join(lines) + "\n")


def compare(grid: ablation.Ablation, found: dict[str, runs.Run], workdir: Path) -> None:
    """Write the table and the plot of what is finished; print the table."""
    rows = ablation.table(grid, found)
    for line in ablation.lacking(grid, found):
        print(f"note: {line}")
    stem = workdir / "ablation"
    tables.write_table(stem, ablation.COLUMNS, rows)
    text = tables.write_markdown(f"{stem}.md", ablation.COLUMNS, rows)
    first = next(iter(found.values()))
    title = f"{grid.base_name}: {len(first)} test queries, seeds {', '.join(map(str, grid.seeds))}"
    style.save(ablation.figure(grid, rows, title=title), stem, pdf=grid.base.pdf)
    files.write_json(
        f"{stem}.json", {"grid": dataclasses.asdict(grid), "queries": len(first), "rows": rows}
    )
    print(f"\n{title}; differences from the first variant\n")
    print(text)
    print(f"  table    {stem}.csv\n  figure   {stem}.png\n  commands {workdir / 'commands.txt'}")


if __name__ == "__main__":
    common.launch_with_arguments(run, required=("config", "workdir"))
