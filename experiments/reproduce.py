"""Run the full pipeline: prepare, split, segment, train, index, evaluate, report.

    python -m experiments.reproduce --config=experiments/configs/phantom.py --workdir=runs/phantom

Complete stages are skipped; an interrupted one continues where it stopped. Ends with the most
important numbers, the paths of the results, and the command that opens a page for searching them.
"""

import shlex
from pathlib import Path

from experiments import common
from inres.config import Config
from inres.pipeline import run, workdir
from inres.report.build import build_report


def reproduce(config: Config, root: Path) -> None:
    """Run every stage, then write the report."""
    run.run_all(config, root)
    workdir.describe(root, config, command=common.command_line())  # the report shows it
    page = build_report(root)
    print(run.summary(root))
    print(
        f"\n  report   {page}\n  metrics  {root / 'evaluation' / 'metrics.json'}\n"
        f"  index    {root / 'index' / 'archive'}\n"
        f"  search   python -m experiments.serve --archive={shlex.quote(str(common.WORKDIR.value))}"
    )


if __name__ == "__main__":
    common.launch(reproduce)
