"""Running the grid of an ablation: every variant with every seed, then their comparison."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from inres.config import Config
from inres.evaluation import runs
from inres.figures import style
from inres.learning.step_metrics import TrainingError
from inres.pipeline import run, stages, workdir
from inres.studies import ablation, ablation_table
from inres.studies.ablation import Ablation, Planned
from inres.system import files, tables


def run_grid(grid: Ablation, root: Path, *, pristine: Config, command: str) -> None:
    """Run everything that is not complete in `<root>/runs`, then compare what is.

    Several processes may call this with one `root`: they share the runs out, and the last to finish
    writes the comparison. A run that fails to train is left out; one with other queries than the
    first cannot be compared, and ends the grid.

    Args:
      grid: checked by `ablation.checked`.
      pristine: the base config without any field changed, for the command lines in commands.txt.
      command: recorded in the environment of every run.
    """
    folder = root / "runs"
    stages.share(folder)
    planned = ablation.runs(grid)
    _write_commands(grid, planned, root, pristine)
    held: set[str] = set()
    found: dict[str, runs.Run] = {}
    for number, one in enumerate(planned, start=1):
        print(f"run {number} of {len(planned)}: {one.name}", flush=True)
        try:
            run_one(one.config, folder / one.name, command=command)
            found[one.name] = runs.read(folder / one.name / "evaluation")
            first = next(iter(found))  # compared now, before more runs are made in vain
            runs.aligned({name: found[name] for name in (first, one.name)})
        except stages.Held as error:
            held.add(one.name)
            print(f"  left out: {error}")
        except TrainingError as error:
            print(f"  left out: {error}")
    for one in planned:  # other processes may have finished the rest meanwhile
        if one.name in found:
            continue
        if finished(one.config, folder / one.name):
            found[one.name] = runs.read(folder / one.name / "evaluation")
        else:
            print(f"note: {one.name} is not finished; its variant is not in the table")
    if others := held - found.keys():
        print(
            f"other processes are still working on {len(others)} runs; the last of them writes "
            "the table"
        )
        return
    write_comparison(grid, found, root)


def finished(config: Config, root: Path) -> bool:
    """Whether the run in the workdir `root` is complete, with this config."""
    made, last = root / workdir.CONFIG, root / "evaluation" / stages.DONE
    return made.is_file() and last.is_file() and workdir.read_config(root) == config


def run_one(config: Config, root: Path, *, command: str) -> None:
    """Run all stages in the workdir `root` unless it is complete."""
    if finished(config, root):
        print(f"  done already, skipped ({root})")
        return
    with stages.lock(root):
        run.run_all(config, root)
        workdir.describe(root, config, command=command)  # last: it shows that the run is complete


def _write_commands(
    grid: Ablation, planned: Sequence[Planned], root: Path, pristine: Config
) -> None:
    """Write commands.txt: for each run the command line that makes it alone."""
    lines = [
        ablation.command(
            one.config,
            pristine,
            base_name=grid.base_name,
            workdir=str(root / "runs" / one.name),
        )
        for one in planned
    ]
    files.write_text(root / "commands.txt", "\n".join(lines) + "\n")


def write_comparison(grid: Ablation, found: Mapping[str, runs.Run], root: Path) -> None:
    """Write the table and the plot of the finished runs, by name; print the table."""
    rows = ablation_table.table(grid, found)
    for line in ablation_table.lacking(grid, found):
        print(f"note: {line}")
    stem = root / "ablation"
    tables.write_table(stem, ablation_table.COLUMNS, rows)
    text = tables.write_markdown(f"{stem}.md", ablation_table.COLUMNS, rows)
    first = next(iter(found.values()))
    title = f"{grid.base_name}: {len(first)} test queries, seeds {', '.join(map(str, grid.seeds))}"
    style.save(ablation_table.figure(grid, rows, title=title), stem, pdf=grid.base.pdf)
    files.write_json(
        f"{stem}.json", {"grid": dataclasses.asdict(grid), "queries": len(first), "rows": rows}
    )
    print(f"\n{title}; differences from the first variant\n")
    print(text)
    print(f"  table    {stem}.csv\n  figure   {stem}.png\n  commands {root / 'commands.txt'}")
